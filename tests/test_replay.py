"""Replays as batches of rows: packed, in groups, and on devices that must not wait for the host."""

from collections import Counter
from types import SimpleNamespace

import psutil
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import density.batch
import density.replay
from density.batch import lay_out
from density.families.products import ROUND
from density.fidelity import probabilities, total_variation
from density.importance import run_whole
from density.memory import free_bytes
from density.reading import REPLAY_BYTES, of_like_length, replay_budget
from density.replay import KeepTraces, replay, replay_states, replay_together
from density.traces import Trace, Traces
from tests.tiny import CASES, EVERY_CASE, LLAMA, Case, random_ids, tiny

each_case = pytest.mark.parametrize("case", EVERY_CASE, ids=lambda case: f"{case.family}: {case.settings}")
WAITING = ("nonzero", "_local_scalar_dense", "masked_select", "unique")


class Counted(TorchDispatchMode):
    """Counts the operations that run inside it, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.calls[operation.overloadpacket.__name__] += 1
        return operation(*args, **(kwargs or {}))


@pytest.fixture
def as_elsewhere(monkeypatch):
    """The way of a GPU, on this CPU."""
    monkeypatch.setattr(density.batch, "ROW_SKIPPING_DEVICES", frozenset())


def traced(case: Case, positions: tuple[int, ...], sizes: tuple[float, ...] = (0.1, 0.3, 0.7)):
    """A tiny model, a text, and traces of these predictions at these sizes."""
    family, ids = tiny(case), random_ids(17)
    importances = run_whole(family, ids).importances
    traces = Traces(importances, positions)
    return family, ids, traces, [traces.of_size(position, size) for position in positions for size in sizes]


def test_rows_are_numbered_group_after_group_and_padding_repeats_the_last_row_of_an_item():
    rows = lay_out([[1, 2], [0]], torch.device("cpu"))
    assert rows.shapes == ((2, 3), (1, 1))
    assert rows.positions.tolist() == [0, 1, 0, 1, 2, 0]
    assert rows.outputs.tolist() == [1, 4, 5]
    assert rows.padded.tolist() == [0, 1, 1, 2, 3, 4, 5]
    assert rows.places.tolist() == [0, 1, 3, 4, 5, 6]
    first, second = rows.groups(torch.arange(7))
    assert (first.tolist(), second.tolist()) == ([[0, 1, 2], [3, 4, 5]], [[6]])
    assert rows.packed([first > 3, second > 3]).tolist() == [False, False, False, True, True, True]


@each_case
def test_groups_together_give_what_each_gives_alone(case):
    family, ids, traces, batch = traced(case, (2, 9, 16))
    groups = [batch[6:], batch[:3], batch[3:6]]
    experts = traces.importances.experts
    together = replay_together(family, ids, [KeepTraces(traces, group) for group in groups], experts)
    alone = [replay(family, ids, KeepTraces(traces, [trace]), experts)[0] for group in groups for trace in group]
    assert float(total_variation(probabilities(together), probabilities(torch.stack(alone))).max()) < 1e-5


@pytest.mark.parametrize("case", EVERY_CASE[::2], ids=lambda case: f"{case.family}: {case.settings}")
def test_without_skipping_rows_the_predictions_are_the_same_and_zeros_stay_exact(case, as_elsewhere, monkeypatch):
    family, ids, traces, batch = traced(case, (6, 16))
    experts = traces.importances.experts
    waiting_for_none = replay(family, ids, KeepTraces(traces, batch), experts)
    last = [trace for trace in batch if trace.position == 16]
    unskipped = [states.clone() for states in replay_states(family, ids, KeepTraces(traces, last), experts)]
    monkeypatch.undo()
    skipping = replay(family, ids, KeepTraces(traces, batch), experts)
    assert float(total_variation(probabilities(waiting_for_none), probabilities(skipping)).max()) < 1e-5
    zeros = 0
    for mine, states in zip(unskipped, replay_states(family, ids, KeepTraces(traces, last), experts), strict=True):
        assert torch.equal((mine == 0).all(-1), (states == 0).all(-1))
        zeros += int((mine == 0).all(-1).sum())
    assert zeros > 0


def test_no_layer_makes_the_device_wait_for_the_host(as_elsewhere):
    waits = []
    for layers in (1, 3):
        case = Case(
            LLAMA.family, "drawn", LLAMA.architecture, LLAMA.config, {**LLAMA.arguments, "num_hidden_layers": layers}
        )
        family, ids, traces, batch = traced(case, (6, 16))
        keep = KeepTraces(traces, batch)
        with Counted() as counted:
            replay(family, ids, keep)
        assert counted.calls["mm"] + counted.calls["_linear_pointwise"] >= 7 * layers
        waits.append(sum(counted.calls[name] for name in WAITING))
    assert waits[0] == waits[1]


def test_rows_are_computed_in_a_few_different_numbers_and_none_is_added_twice(monkeypatch):
    family, ids, traces, batch = traced(LLAMA, (6, 16), sizes=(0.05, 0.1, 0.2, 0.4, 0.8))
    exact = replay(family, ids, KeepTraces(traces, batch))
    numbers = []
    real = density.replay.mlp_write

    def counting(block, state, kept, computed, routing):
        numbers.append(len(computed.numbers))
        assert computed.count <= len(computed.numbers) < computed.count + ROUND
        return real(block, state, kept, computed, routing)

    monkeypatch.setattr(density.replay, "mlp_write", counting)
    replay(family, ids, KeepTraces(traces, batch))
    assert numbers and {number % ROUND for number in numbers} == {0}
    monkeypatch.setattr(density.batch, "ROUND", 1)
    monkeypatch.setattr(density.replay, "ROUND", 1)
    assert (
        float(
            total_variation(probabilities(exact), probabilities(replay(family, ids, KeepTraces(traces, batch)))).max()
        )
        < 1e-5
    )


def test_items_of_like_length_are_grouped_in_their_order():
    traces = [Trace(position, 0.1, 0.1, 1, 2) for position in (0, 3, 7, 8, 15, 40, 50, 51, 3)]
    groups = [[trace.position for trace in group] for group in of_like_length(traces)]
    assert groups == [[0, 3, 7], [8, 15], [40, 50], [51], [3]]


@pytest.mark.parametrize(("free", "budget"), [(80 * 2**30, 20 * 2**30), (2**20, REPLAY_BYTES)])
def test_off_the_cpu_a_batch_may_take_a_quarter_of_what_is_free(free, budget, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 0))
    assert replay_budget(torch.device("cuda")) == budget
    assert replay_budget(torch.device("cpu")) == REPLAY_BYTES


def test_on_mps_what_is_free_is_what_metal_recommends_less_what_is_held_and_no_more_than_the_machine_has(monkeypatch):
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 7)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 3)
    assert free_bytes(torch.device("mps")) == free_bytes("mps") == 4
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2))
    assert free_bytes("mps") == 2


def test_every_family_is_replayed_without_skipping_rows():
    assert {case.family for case in EVERY_CASE[::2]} == {case.family for case in CASES}
