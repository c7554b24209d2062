"""Distances by hand, on three tokens."""

import math

import pytest
import torch

from density.fidelity import (
    compare,
    entropy,
    jensen_shannon,
    kl_divergence,
    nucleus,
    nucleus_recovered,
    probabilities,
    ranked,
    total_variation,
    trapezoid,
)
from tests.tiny import OnMps

P = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
Q = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)


def test_probabilities_are_float64_also_of_a_device_that_has_none():
    logits = torch.tensor([[0.1, -2.0, 3.0], [1.0, 1.0, 0.0]])
    found = probabilities(logits.as_subclass(OnMps))
    assert found.dtype == torch.float64
    assert torch.equal(found, probabilities(logits))


def test_total_variation_is_half_the_summed_differences():
    assert float(total_variation(P, Q)) == pytest.approx((0.3 + 0.0 + 0.3) / 2)


def test_divergences_match_their_sums_written_out():
    mean = [0.35, 0.3, 0.35]
    by_hand = sum(p * math.log(p / q) for p, q in zip(P.tolist(), Q.tolist(), strict=True))
    to_mean = [sum(x * math.log(x / m) for x, m in zip(d.tolist(), mean, strict=True)) for d in (P, Q)]
    assert float(kl_divergence(P, Q)) == pytest.approx(by_hand)
    assert float(jensen_shannon(P, Q)) == pytest.approx(sum(to_mean) / 2)
    assert float(entropy(P)) == pytest.approx(-sum(p * math.log(p) for p in P.tolist()))


def test_a_probability_of_zero_adds_nothing_to_an_entropy_and_infinity_to_a_divergence():
    certain = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    assert float(entropy(certain)) == 0
    assert float(kl_divergence(P, certain)) == math.inf
    assert float(jensen_shannon(certain, certain.flip(0))) == pytest.approx(math.log(2))


def test_a_nucleus_is_the_fewest_tokens_likeliest_first_ties_by_id():
    assert nucleus(*ranked(P), 0.5).tolist() == [0]
    assert nucleus(*ranked(P), 0.51).tolist() == [0, 1]
    assert nucleus(*ranked(torch.tensor([0.25, 0.5, 0.25])), 0.75).tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"in \(0, 1\], got 90"):
        nucleus(*ranked(P), 90)


def test_nucleus_recovery_is_the_largest_percent_whose_ordered_lists_agree():
    # Up to 50% both nuclei are [0]; at 60% and 80% they are [0, 1] and [0, 2]; at 90% all three in other orders.
    near = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    assert nucleus_recovered(P, near) == 40
    assert nucleus_recovered(P, P) == 90
    assert nucleus_recovered(P, Q) == 0


def test_compare_reports_what_the_single_measures_do():
    found = compare(P, Q)
    assert found.total_variation == pytest.approx(0.3)
    assert found.fidelity == pytest.approx(0.7)
    assert not found.top_token_agrees
    assert compare(P, P).top_token_agrees


def test_probabilities_stay_exact_where_float32_would_round_to_zero_difference():
    logits = torch.tensor([0.0, 1e-6])
    assert float(total_variation(probabilities(logits), torch.tensor([0.5, 0.5]).double())) == pytest.approx(
        2.5e-7, rel=1e-3
    )


def test_the_area_under_a_triangle():
    assert trapezoid([0.0, 0.25, 1.0], [1.0, 0.5, 0.0]) == pytest.approx(0.25 * 0.75 + 0.75 * 0.25)
