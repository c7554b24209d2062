"""How many threads a process computes on: no more than the cores it is given."""

import math
import os
from pathlib import Path

import torch

CONTROL_GROUP = Path("/sys/fs/cgroup")


def cores(group: Path = CONTROL_GROUP) -> int:
    """Cores that this process is bound to, and no more than its control group has time for; 1 at least."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return max(1, min(bound, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        # No control group, or one without a limit, whose quota is "max".
        return bound


def use_cores() -> None:
    """Has torch compute on no more threads than there are cores; fewer, if that was asked for, stay."""
    if torch.get_num_threads() > cores():
        torch.set_num_threads(cores())
