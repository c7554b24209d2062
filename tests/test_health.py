"""The self-check notices an engine that is not the model, and lets nobody use it."""

import pytest
import torch

from density import health
from density.health import TOLERANCE, Health, Unhealthy, check, check_reading, load, relative_error, state_errors
from density.models import open_model
from density.reading import read
from tests.tiny import CASES, OnMps, lettered, random_ids

BROKEN = Health(full_replay_tv=0.3, max_state_error=1e-6, max_logit_error=2.0)


def test_a_sound_model_passes_with_figures_near_rounding():
    figures = check(lettered())
    assert figures.passes("float32")
    assert figures.full_replay_tv < 1e-5
    assert figures.max_state_error < 1e-5
    assert figures.max_logit_error < 1e-4


def test_a_text_is_checked_at_the_prediction_asked_for():
    assert check_reading(read(lettered(), "the cat sat"), 3).passes("float32")


def test_weights_that_the_engine_and_the_model_read_differently_are_noticed():
    model = lettered()
    queries = model.decoder.model.model.layers[1].self_attn.q_proj
    queries.register_forward_hook(lambda module, args, out: 1.1 * out)
    assert check(model).full_replay_tv > TOLERANCE["float32"]


def test_a_state_that_is_not_the_models_is_noticed():
    model = lettered()
    model.decoder.model.model.layers[0].mlp.down_proj.register_forward_hook(lambda module, args, out: 1.1 * out)
    assert check(model).max_state_error > TOLERANCE["float32"]


def test_a_state_that_is_not_a_number_fails_a_model():
    decoder, ids = lettered().decoder, random_ids(7)
    theirs = list(decoder.model(ids[None], output_hidden_states=True).hidden_states)
    sound = state_errors(decoder, ids, [state[0] for state in theirs])
    theirs[1] = theirs[1] * float("nan")
    broken = state_errors(decoder, ids, [state[0] for state in theirs])
    assert [Health(0.0, error, 0.0).passes("float32") for error in (sound, broken)] == [True, False]
    assert relative_error(torch.zeros(3), torch.zeros(3)) == 0


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_only_the_rows_checked_pass_the_models_own_head(family):
    model, rows = lettered(next(case for case in CASES if case.family == family)), []
    head = model.decoder.model.get_output_embeddings()
    head.register_forward_hook(lambda module, args, out: rows.append(args[0].shape[-2]))
    figures = check_reading(read(model, "the cat sat on the mat"))
    assert figures.max_logit_error < 1e-4
    assert set(rows) == {1}


def test_states_are_compared_on_a_device_without_float64():
    found, expected = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 2.0, 5.0])
    assert (
        relative_error(found.as_subclass(OnMps), expected.as_subclass(OnMps)) == relative_error(found, expected) == 0.2
    )


def test_either_figure_alone_fails_a_model():
    assert not Health(2e-3, 0.0, 0.0).passes("float32")
    assert not Health(0.0, 2e-3, 0.0).passes("float32")
    assert not Health(float("nan"), 0.0, 0.0).passes("float32")
    assert Health(2e-3, 0.0, 9.0).passes("bfloat16")


def test_a_model_that_fails_is_not_loaded(tiny_folder, monkeypatch):
    monkeypatch.setattr(health, "check", lambda model: BROKEN)
    with pytest.raises(Unhealthy, match=r"full replay's total variation 0.3, .* Its numbers would be wrong"):
        load(str(tiny_folder))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_runs_with_its_distance_known(tiny_folder, precision):
    model, figures = load(str(tiny_folder), precision=precision)
    assert model.decoder.dtype == getattr(torch, precision)
    assert 0 < figures.full_replay_tv < TOLERANCE[precision]
    exact = check_reading(read(open_model(str(tiny_folder)), "The capital"))
    assert exact.full_replay_tv < figures.full_replay_tv
