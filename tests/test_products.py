"""The quicker products that replays use: the same numbers as torch's own, for every family's weights as they lie."""

from dataclasses import replace

import pytest
import torch

from density.families.parts import Attention, Linear, Mlp
from density.families.products import QuickLinear, quick
from tests.tiny import EVERY_CASE, LLAMA, tiny

each_case = pytest.mark.parametrize("case", EVERY_CASE, ids=lambda case: f"{case.family}: {case.settings}")
with_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


@with_onednn
@each_case
def test_the_products_of_every_family_are_those_of_torch(case):
    plain = tiny(case).block(1, 7)
    swift = quick(plain)
    rows, positions = torch.randn(5, plain.attention.output.weight.shape[0]), torch.arange(5)
    for name in ("query", "key", "value"):
        mine, theirs = getattr(swift.attention, name), getattr(plain.attention, name)
        assert isinstance(mine.linear, QuickLinear)
        torch.testing.assert_close(mine(rows, positions), theirs(rows, positions))
    routing = plain.mlp.route(rows)
    torch.testing.assert_close(swift.mlp.writes(rows, routing), plain.mlp.writes(rows, routing))


@with_onednn
def test_a_bias_that_is_not_contiguous_is_read_as_it_is():
    linear = Linear(torch.randn(5, 3), torch.randn(10)[::2])
    rows = torch.randn(7, 3)
    torch.testing.assert_close(quick(linear)(rows), linear(rows))


@pytest.mark.parametrize("rows", [0, 1, 16])
def test_any_number_of_rows_will_do(rows):
    linear = Linear(torch.randn(5, 3))
    assert quick(linear)(torch.randn(rows, 3)).shape == (rows, 5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_weights_that_are_not_float32_stay_with_torch(dtype):
    linear = Linear(torch.randn(5, 3, dtype=dtype))
    assert quick(linear) is linear


def test_without_onednn_a_block_is_as_it_was(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    block = tiny(LLAMA).block(0, 7)
    assert quick(block) is block


def test_the_block_it_was_made_of_is_not_changed():
    block = tiny(LLAMA).block(0, 7)
    before = replace(block)
    quick(block)
    assert block == before
    assert type(block.attention) is Attention and type(block.mlp) is Mlp
    assert type(block.attention.output) is Linear
