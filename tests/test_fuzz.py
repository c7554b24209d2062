"""Every parser on what it once failed on, on its seeds, and on a few new inputs; ``make fuzz`` runs many more."""

import random
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutation import mutated, mutated_json
from tests.fuzz.targets import FOUND, TARGETS, found

KEPT = [(name, path) for name in TARGETS for path in found(name)]
# Refused from the beginning: what is wrong with them is what the parser is for.
REFUSED_SEEDS = {"gguf": 2, "index": 1, "name": 3, "manifest": 1, "tokenizer": 1}


@cache
def seeds(name):
    """The seeds of a target, made once."""
    return TARGETS[name].seeds()


def test_every_folder_of_found_inputs_has_its_target():
    assert {path.name for path in FOUND.iterdir()} <= TARGETS.keys()
    assert len(KEPT) >= 5


@pytest.mark.parametrize(("name", "path"), KEPT, ids=[f"{name}-{path.name}" for name, path in KEPT])
def test_what_once_failed_is_accepted_or_refused_in_a_sentence(name, path):
    TARGETS[name].accepts(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_are_accepted_but_for_those_that_show_a_refusal(name):
    assert sum(not TARGETS[name].accepts(seed) for seed in seeds(name)) == REFUSED_SEEDS.get(name, 0)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_input_is_accepted_or_refused_in_a_sentence(name, data):
    target = TARGETS[name]
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    words = [word.encode() for word in target.words]
    made = st.binary(max_size=200) | st.just(mutated(seeds(name), words, rng))
    target.accepts(data.draw(made))


def test_a_fault_is_not_taken_for_a_refusal(monkeypatch):
    from dataclasses import replace

    def broken(data):
        raise KeyError(data)

    with pytest.raises(KeyError):
        replace(TARGETS["link"], parse=broken).accepts(b"x")


def test_mutations_of_json_are_mostly_json_and_differ():
    rng = random.Random(0)
    made = [mutated_json(b'{"a": [1, {"b": null}], "c": "d"}', rng) for _ in range(200)]
    assert len(set(made)) > 100
    assert mutated_json(b"{", rng) is None
