"""As many threads as a process is given cores, by what it is bound to and by its control group; how a server's wait."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from density import threads


@pytest.mark.parametrize(
    ("written", "wanted"),
    [("200000 100000", 2), ("250000 100000", 3), ("50000 100000", 1), ("900000 100000", 8), ("max 100000", 8), ("", 8)],
)
def test_cores_are_those_bound_to_within_the_control_groups_quota(tmp_path, monkeypatch, written, wanted):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    (tmp_path / "cpu.max").write_text(f"{written}\n")
    assert threads.cores(tmp_path) == wanted
    assert threads.cores(tmp_path / "none") == 8


@pytest.mark.parametrize(("given", "left"), [(4, 3), (3, 3), (2, 2)])
def test_torch_has_no_more_threads_than_cores_and_keeps_fewer(monkeypatch, given, left):
    set_to = [given]
    monkeypatch.setattr(threads, "cores", lambda: 3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: set_to[-1])
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    threads.use_cores()
    assert set_to[-1] == left


@pytest.mark.skipif(sys.platform != "linux", reason="torch computes with another OpenMP here")
@pytest.mark.parametrize(
    ("said", "heard"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")]
)
def test_threads_of_a_server_wait_as_they_were_told_or_else_briefly(said, heard):
    lines = "from pages.parts import serve; serve.wait_briefly(); import torch"
    unsaid = {name: os.environ[name] for name in os.environ.keys() - {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}}
    done = subprocess.run(
        [sys.executable, "-c", lines],
        cwd=Path(__file__).parents[1],
        env={**unsaid, "OMP_DISPLAY_ENV": "VERBOSE", **said},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"GOMP_SPINCOUNT = '{heard}'" in done.stderr
