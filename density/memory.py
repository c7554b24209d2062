"""How much memory a device could still take."""

import psutil
import torch


def free_bytes(device: torch.device | str) -> int:
    """Bytes free on ``device``; an MPS device shares the machine's memory, and takes of it what Metal recommends."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free: int = psutil.virtual_memory().available
    if kind == "mps":
        return min(free, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return free
