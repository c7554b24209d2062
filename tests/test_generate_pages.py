"""What the model wrote on: every cell says what it is, a click shows its numbers, and no other setting loses it."""

import json
import math

import pytest

from tests.test_pages import plain, said, settle
from tests.test_selected import asked, at, home, metrics  # noqa: F401


@pytest.fixture
def written(home, tiny_folder):  # noqa: F811
    """The page with three tokens written on."""
    app = at(tiny_folder)
    app.slider(key="write-count").set_value(3)
    app.button(key="write").click()
    return asked(app, "generating")


def cells(app):
    """What the heatmap of the written text was given."""
    found = (json.loads(component.proto.json) for component in app.get("bidi_component"))
    return [shown[0]["cells"] for shown in found if isinstance(shown, list)][-1]


def test_every_cell_of_what_was_written_says_what_it_is(written):
    given, *tokens, end = cells(written)
    assert given["reason"].endswith(": given, not written.") and "first token" not in json.dumps(given)
    assert end["reason"] == "next: not measured; use what was written as text, and press Run."
    assert all(token["found"] and "surprisal" in token["label"] for token in tokens) and len(tokens) == 3


def test_a_written_token_that_is_clicked_shows_its_numbers(written):
    step = written.session_state.generating[1].poll().results[1]
    written.session_state.chosen = None
    written.run()
    assert "Surprisal" not in metrics(written)
    written.session_state.written = 1
    written.run()
    assert metrics(written)["Surprisal"] == f"{-math.log(step['chosen']['probability']):.2f} nats"
    assert plain(written.subheader[-1].value).startswith("Predicting “")


def test_no_other_setting_loses_what_was_written_and_it_says_with_which_it_was(written):
    shown = cells(written)
    written.slider(key="fidelity").set_value(0.95)
    settle(written)
    written.session_state.positions = "last"
    settle(written)
    assert cells(written) == shown
    assert "with densities at fidelity 80%, by L1 norm of the write" in said(written)
    written.text_area[0].set_value("another text")
    written.button[0].click()
    settle(written)
    assert "with densities at" not in said(written)
