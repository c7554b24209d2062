"""The catalogue's second model, end to end."""

import pytest

from density.examine import examine
from density.health import check
from density.profile import profile
from density.reading import read

pytestmark = pytest.mark.real_model
TEXT = "Roses are red, violets are"


@pytest.fixture(scope="module")
def reading(gemma3):
    return read(gemma3, TEXT)


def test_the_tokenizer_puts_its_first_token_before_the_text(reading):
    assert reading.tokens[0].text == "<bos>"
    assert "".join(token.text for token in reading.tokens[1:]) == TEXT


def test_violets_are_blue_and_its_trace_says_so_too(reading):
    (prediction,) = profile(reading, fidelity=0.8, positions="last")
    assert prediction.top_tokens[0].text == " blue"
    assert prediction.top_tokens[0].probability == pytest.approx(0.92, abs=0.01)
    result = examine(reading, prediction.found.trace)
    assert result.top_tokens[0].text == " blue"
    assert result.comparison.total_variation <= 0.2 < prediction.below.total_variation


def test_the_engine_is_the_model(gemma3):
    figures = check(gemma3)
    assert figures.full_replay_tv < 1e-4
    assert figures.max_state_error < 1e-4
