"""The page opens, answers, and meets whatever is typed, linked or picked with a sentence; nothing typed is lost."""

import json
import shlex
import shutil
import string
import time
from concurrent.futures import Future
from itertools import pairwise
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from density.measures import FREQUENCY, MEASURES, UNITS
from density.names import PROFILE_SCHEMA, RULES
from density.serving.jobs import Snapshot, Status
from density.serving.question import DEFAULT_MODEL, Question
from pages.parts import engine, examples, heatmap, inputs, results
from pages.parts.page import ASSETS, literal
from tests.test_view import HOSTILE, document, prediction

APP = str(Path(__file__).parents[1] / "app.py")
PATIENCE = 60.0


def settle(app, until=lambda app: "job" in app.session_state and app.session_state.job.poll().finished):
    """Draws the page again and again, as the browser does, until the engine is there and ``until`` holds."""
    deadline = time.monotonic() + PATIENCE
    while True:
        app.run(timeout=PATIENCE)
        assert not app.exception
        if until(app) and not any("starting" in caption.value for caption in app.caption):
            # What ended while the page was drawn is on it the next time.
            return app.run(timeout=PATIENCE)
        assert time.monotonic() < deadline, [caption.value for caption in app.caption]
        time.sleep(0.05)


def opened(**link):
    """The page, as somebody sees it who followed a link."""
    app = AppTest.from_file(APP, default_timeout=PATIENCE)
    for name, value in link.items():
        app.query_params[name] = value
    return settle(app, until=lambda app: True)


@pytest.fixture
def page(own_home, tiny_folder):
    """The page with the tiny model chosen, on a machine that has no other; nothing has been run."""
    return opened(model=str(tiny_folder))


def run(app):
    """Presses Run and waits for the end."""
    app.button[0].click()
    return settle(app)


def cells_of(app):
    """What the heatmap was given."""
    components = app.get("bidi_component")
    texts = [component.proto.json for component in components]
    maps = [shown[0] for shown in map(json.loads, texts) if isinstance(shown, list)]
    return maps[0]["cells"] if maps else []


def said(app):
    """Everything the page says that is not the answer itself."""
    return " ".join(element.value for kind in ("warning", "error", "info", "caption") for element in app.get(kind))


def plain(text):
    """Markdown made by `literal`, as it is seen."""
    return text.replace("\\", "").replace("\u2068", "").replace("\u2069", "")


def test_the_page_opens_with_an_example_and_no_model(own_home):
    app = opened()
    assert app.title[0].value == "Density explorer"
    assert app.text_area[0].value == inputs.EXAMPLES[0]["text"]
    assert app.selectbox[0].value == DEFAULT_MODEL
    assert app.selectbox[0].options[:2] == [DEFAULT_MODEL, "gemma3-270m"]
    assert "Run fetches the model first: 93 MB" in said(app)
    assert "job" not in app.session_state and "loading" not in app.session_state


def test_a_text_is_answered_with_a_heatmap_a_table_and_the_health(page):
    text = page.text_area[0].set_value("The capital of France is").value
    run(page)
    shown = cells_of(page)
    assert "".join(piece for cell in shown[:-1] for piece, _ in cell["pieces"]) == text
    assert [cell["share"] is None for cell in shown] == [True] + [False] * (len(shown) - 1)
    assert shown[-1]["following"]
    table = page.dataframe[0].value
    assert list(table["density"]) == [cell["share"] for cell in shown[1:]]
    assert [metric.label for metric in page.metric][-3:] == [
        "Full graph against the model",
        "Worst state",
        "Worst logit",
    ]
    assert "predictions" in said(page) and "replays" in said(page)


def test_the_time_is_estimated_once_the_model_is_in_memory(page):
    assert "once the model is in memory" in said(page) or "besides the model" in said(page)
    run(page)
    tokens = len(cells_of(page)) - 1
    assert f"{tokens} tokens, {tokens} predictions: about" in said(page)


def test_a_chosen_token_shows_its_numbers(page):
    run(page)
    assert "Click a token" in said(page)
    page.session_state.chosen = 2
    page.run()
    labels = [metric.label for metric in page.metric]
    assert set(labels[:6]) == {"Density", "Not enough", "Total variation", "Entropy", "Surprisal", "Edges"}
    assert page.subheader[0].value.startswith("\u2068Predicting “")
    assert all(metric.help for metric in page.metric)


@pytest.mark.parametrize(
    ("measured_with", "words"), [({"fidelity": 0.3}, "fidelity 30%"), ({"precision": "bfloat16"}, "bfloat16")]
)
def test_what_no_widget_can_be_set_to_stays_as_it_was_opened_until_something_is_changed(page, measured_with, words):
    run(page)
    answer = page.session_state.answer
    saved = {**answer.subject.document(answer.results), **measured_with}
    page.file_uploader[0].upload("saved.json", json.dumps(saved).encode(), "application/json")
    settle(page)
    settle(page)
    asked = page.session_state.asked
    assert {name: getattr(asked, name) for name in measured_with} == measured_with
    assert "Below is what was opened, as it was measured: " in said(page) and words in said(page)
    assert "The link's" not in said(page) and page.session_state.answer.subject.from_file
    page.slider(key="fidelity").set_value(0.9)
    settle(page)
    assert page.session_state.asked.fidelity == 0.9 and "what was opened" not in said(page)


def test_a_saved_view_is_seen_again(page):
    run(page)
    answer = page.session_state.answer
    view = {"token": "2", "tint": "entropy", "unit": "word", "heads-by": "importance", "circuit-most": "100"}
    page.session_state.chosen = 1
    saved = json.dumps({**answer.subject.document(answer.results), "view": view}).encode()
    page.file_uploader[0].upload("saved.json", saved, "application/json")
    settle(page)
    state = page.session_state
    assert (state.chosen, state.tint, state.unit, state["heads-by"], state["circuit-most"]) == (
        *(2, "entropy", "word", "importance", 100),
    )
    assert {name: page.query_params.get(name) for name in view} == view
    assert page.subheader[0].value.startswith("\u2068Predicting “")


def test_a_text_over_the_usual_limit_comes_back_by_its_link(page):
    page.text_area[0].set_value("x" * 600)
    page.number_input(key="max_tokens").set_value(700)
    page.session_state.positions = "last"
    assert cells_of(run(page))[-1]["found"]
    again = opened(**dict(page.query_params.items()))
    assert again.number_input(key="max_tokens").value == 700
    assert "the limit is" not in plain(said(again)) and "600 tokens, 1 prediction" in said(again)


def test_another_fidelity_is_answered_at_once_and_another_text_waits_for_run(page):
    run(page)
    before = [cell["share"] for cell in cells_of(page)]
    page.slider(key="fidelity").set_value(0.95)
    settle(page)
    after = [cell["share"] for cell in cells_of(page)]
    assert all(low <= high for low, high in zip(before[1:], after[1:], strict=True)) and before != after
    page.text_area[0].set_value("something else")
    page.run()
    assert [cell["share"] for cell in cells_of(page)] == after
    assert "what was asked before" in said(page) and "press Run for what is asked now" in said(page)


def test_another_fidelity_is_answered_though_the_text_had_to_be_let_go_from_memory(page, monkeypatch):
    run(page)
    monkeypatch.setattr("density.serving.service.Service.measured", lambda service, question: False)
    page.slider(key="fidelity").set_value(0.95)
    settle(page)
    assert page.session_state.asked.fidelity == 0.95
    assert page.session_state.answer.subject.question.fidelity == 0.95 and page.session_state.answer.finished


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_answered(page, rule):
    page.selectbox(key="rule").set_value(rule)
    run(page)
    assert page.session_state.asked.rule == rule
    assert all(cell["share"] is not None for cell in cells_of(page)[1:])


def test_the_last_predictions_alone_can_be_asked(page):
    page.session_state.positions = "last:16"
    run(page)
    shares = [cell["share"] for cell in cells_of(page)]
    assert sum(share is not None for share in shares) == 16


def test_the_last_prediction_or_a_span_can_be_asked(page):
    page.session_state.positions = "last"
    run(page)
    assert [cell["found"] for cell in cells_of(page)][-2:] == [False, True]
    page.session_state.positions = "span"
    page.run()
    page.number_input(key="first").set_value(5)
    page.number_input(key="last").set_value(2)
    run(page)
    assert page.session_state.asked.positions == "2..5"
    assert [cell["position"] for cell in cells_of(page) if cell["found"]] == [2, 3, 4, 5]


def test_a_span_outside_the_text_is_refused_with_its_reason(page):
    run(page)
    page.session_state.positions = "span"
    page.run()
    page.number_input(key="last").set_value(400)
    page.run()
    told = plain(said(page))
    assert "Position 400 is outside the text's" in told and "use 0.." in told
    assert "what was asked before" in told and "press Run" not in told


def test_what_was_measured_is_not_foreseen_to_take_time(page):
    run(page)
    page.session_state.positions = "last:16"
    page.run()
    settle(page)
    assert page.session_state.answer.subject.question.positions == "last:16"
    told = plain(said(page))
    assert "16 predictions: about 0 s, all of it has been measured" in told
    assert "about a second" not in told


def test_a_token_that_is_not_there_is_said_to_be_lacking(page):
    page.session_state.chosen = 999
    page.run()
    page.session_state.positions = "last"
    run(page)
    page.session_state.chosen = 999
    page.run()
    assert "There is no prediction at position 999" in said(page)


def test_a_span_marked_in_the_heatmap_becomes_what_is_asked(page):
    run(page)
    page.session_state["chosen-span"] = (1, 3)
    settle(page)
    assert page.session_state.asked.positions == "1..3"
    assert [cell["position"] for cell in cells_of(page) if cell["found"]] == [1, 2, 3]


def test_a_sweep_offers_its_areas_as_tints(page):
    run(page)
    assert page.session_state.tint == "density"
    page.session_state.search = "sweep"
    page.text_area[0].set_value("a text to sweep")
    run(page)
    shares = [cell["share"] for cell in cells_of(page)]
    page.session_state.tint = "auc_log10"
    page.run()
    assert [cell["share"] for cell in cells_of(page)] != shares
    page.session_state.search = "lattice"
    run(page)
    assert page.session_state.tint == "density"
    assert [cell["share"] for cell in cells_of(page)][1:] != [None] * (len(shares) - 1)


@pytest.mark.parametrize("tint", sorted(set(MEASURES) - {FREQUENCY}))
@pytest.mark.parametrize("unit", UNITS)
def test_every_tint_is_drawn_by_every_unit(own_home, tint, unit):
    app = opened()
    app.session_state.tint, app.session_state.unit = tint, unit
    app.run()
    assert not app.exception
    assert any(cell["tint"] for cell in cells_of(app))


def test_every_example_fits_the_page():
    assert len({example["theme"] for example in inputs.EXAMPLES}) == len(inputs.EXAMPLES) > 5
    assert all(0 < len(example["text"].strip()) <= 200 for example in inputs.EXAMPLES)


PRECOMPUTED = [example for example in examples.EXAMPLES if "precomputed" in example]


@pytest.mark.parametrize("example", PRECOMPUTED, ids=[example["theme"] for example in PRECOMPUTED])
def test_a_precomputed_example_is_a_whole_profile_of_its_text(example):
    found = examples.precomputed(example["text"])
    assert (found["schema"], found["text"]) == (PROFILE_SCHEMA, example["text"])
    assert "".join(token["text"] for token in found["tokens"]) == example["text"]
    assert [one["position"] for one in found["predictions"]] == list(range(len(found["tokens"])))
    assert set(found["predictions"][0]) == set(prediction(0))
    assert examples.answers(found, Question(text=example["text"]))
    assert not examples.answers(found, Question(text=example["text"], fidelity=0.9))
    assert shlex.split(examples.command(found))[4:8] == ["--model", DEFAULT_MODEL, "--text", example["text"]]


def test_every_precomputed_file_belongs_to_an_example_and_every_example_has_one():
    files = {path.name for path in (ASSETS / "precomputed").iterdir()}
    assert files == {example["precomputed"] for example in PRECOMPUTED}
    assert len(PRECOMPUTED) == len(examples.EXAMPLES)
    assert examples.precomputed("no example") is None


def test_a_first_visit_sees_the_first_example_measured_beforehand(own_home, monkeypatch):
    monkeypatch.setattr(engine, "starting", Future)
    app = AppTest.from_file(APP, default_timeout=PATIENCE).run()
    assert not app.exception
    assert [cell["found"] for cell in cells_of(app)][1:] == [True] * (len(cells_of(app)) - 1)
    assert "Precomputed** with smollm2-135m at fidelity 80%" in said(app)
    app.text_area[0].set_value("a text of my own").run()
    assert cells_of(app) == []


def test_a_precomputed_example_is_told_from_what_is_asked_and_gives_way_to_the_answer(page):
    assert "This is not what is asked now" in said(page)
    run(page)
    assert "Precomputed" not in said(page)
    page.text_area[0].set_value(PRECOMPUTED[1]["text"]).run()
    assert "Precomputed" in said(page) and len(page.metric) == 0


def test_a_token_chosen_in_a_precomputed_example_is_not_fetched_for(own_home):
    app = opened(token="3")
    assert app.session_state.chosen == 3
    assert "job" not in app.session_state


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The text is empty"),
        ("  \n\t ", "The text is empty"),
        ("word " * 600, "tokens and the limit is 512; shorten it or raise the limit"),
    ],
)
def test_a_bad_text_is_refused_with_its_reason_and_stays(page, text, message):
    run(page)
    answer = cells_of(page)
    page.text_area[0].set_value(text)
    run(page)
    assert message in plain(said(page))
    assert page.text_area[0].value == text
    assert cells_of(page) == answer


def test_the_limit_that_refuses_a_text_can_be_raised(page):
    run(page)
    page.number_input(key="max_tokens").set_value(3)
    page.run()
    assert "the limit is 3" in plain(said(page))
    page.number_input(key="max_tokens").set_value(600)
    page.run()
    assert "the limit is" not in plain(said(page))


def test_one_token_is_enough(page):
    page.text_area[0].set_value("x")
    run(page)
    assert [cell["share"] is None for cell in cells_of(page)] == [True, False]
    assert "1 token, 1 prediction" in said(page)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_answered_and_every_character_is_there(page, text):
    page.text_area[0].set_value(text)
    run(page)
    assert "".join(piece for cell in cells_of(page)[:-1] for piece, _ in cell["pieces"]) == text
    page.session_state.chosen = 0
    page.run()
    assert not page.exception


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nonsense", "'nonsense' is no model: give a name of the catalogue"),
        ("/no/such/folder", "there is no file or folder '/no/such/folder'"),
        ("![](http://example.com/x.png)", "no file or folder|no model"),
    ],
)
def test_an_unknown_model_fails_with_its_reason_and_the_answer_before_it_stays(page, name, message):
    run(page)
    answer = cells_of(page)
    page.selectbox[0].options.append(name)
    page.selectbox[0].set_value(name)
    run(page)
    errors = [plain(error.value) for error in page.error]
    assert len(errors) == 1
    assert any(part.lower() in errors[0].lower() for part in message.split("|"))
    assert cells_of(page) == answer


def test_a_folder_that_is_typed_is_told_by_its_config_and_opened_and_one_in_a_link_is_left_alone(
    own_home, tiny_folder, tmp_path
):
    good, unread = (str(shutil.copytree(tiny_folder, tmp_path / name)) for name in ("good", "unread"))
    (Path(unread) / "config.json").write_text('{"model_type": "no-such"}', encoding="utf-8")
    app = opened(model=unread)
    assert "looked for as a folder, a .gguf file or a hub id once you press Run" in plain(said(app))
    for name, told in (
        (good, "a folder with a model of the family llama"),
        (unread, "no family for model_type='no-such'"),
    ):
        app.selectbox(key="model").options.append(name)
        app.selectbox(key="model").set_value(name).run()
        assert f"Not in the catalogue: {told}" in plain(said(app))
    assert "loading" not in app.session_state or app.session_state.loading[0] == good
    app.selectbox(key="model").options.append(good)
    app.selectbox(key="model").set_value(good).run()
    settle(app, until=lambda app: "loading" in app.session_state and app.session_state.loading[1].poll().finished)
    assert "tokens, " in said(app) and "besides the model" in said(app)
    assert "job" not in app.session_state


def test_terms_are_shown_and_accepted_before_anything_is_fetched(own_home):
    app = opened(model="gemma3-270m")
    assert "Accept the model's terms" in said(app)
    assert "Gemma Terms of Use" in app.text[0].value
    app.button[0].click()
    app.run()
    assert "job" not in app.session_state
    app.checkbox[0].check()
    app.run()
    assert "Run fetches the model first: 238 MB" in said(app)


def test_a_link_fills_the_page_and_runs_nothing_that_is_not_at_hand(own_home, tiny_folder, tmp_path):
    # The engine is that of the tests before, and may have the tiny model itself in memory.
    copied = shutil.copytree(tiny_folder, tmp_path / "copied")
    app = opened(text="from a link", model=str(copied), fidelity="0.9", rule="l2", positions="last:16")
    assert (app.text_area[0].value, app.slider(key="fidelity").value) == ("from a link", 0.9)
    assert (app.selectbox(key="rule").value, app.session_state.positions) == ("l2", "last:16")
    assert "job" not in app.session_state
    again = opened(**dict(app.query_params.items()))
    assert again.session_state.text == "from a link"


def test_run_is_not_forgotten_if_a_click_elsewhere_ends_the_run_of_the_page(page, monkeypatch):
    visitor, ended = engine.visitor, []

    def interrupted():
        if not ended:
            ended.append(True)
            st.rerun()
        return visitor()

    monkeypatch.setattr(engine, "visitor", interrupted)
    assert cells_of(run(page))
    assert ended and page.session_state.job.poll().status is Status.DONE


@pytest.mark.parametrize(
    ("name", "value"),
    [("fidelity", "7"), ("fidelity", "much"), ("rule", "<script>"), ("positions", "-1"), ("positions", "999")],
)
def test_a_link_with_a_bad_value_says_so_and_keeps_the_rest(own_home, name, value):
    app = opened(text="kept", **{name: value})
    assert f"The link's {name} '{value}'" in plain(app.warning[0].value)
    assert app.text_area[0].value == "kept"


def test_an_engine_that_does_not_start_is_said_once_and_not_waited_for(own_home, monkeypatch):
    def broken():
        raise ModuleNotFoundError("No module named 'torch'")

    st.cache_resource.clear()
    monkeypatch.setattr(engine, "start", broken)
    try:
        app = AppTest.from_file(APP, default_timeout=PATIENCE)
        while not app.run().error:
            assert not app.exception
        assert "The engine did not start: ModuleNotFoundError: No module named 'torch'" in plain(app.error[0].value)
        assert len(app.error) == 1
    finally:
        st.cache_resource.clear()


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_a_literal_text_is_markdown(text):
    safe = literal(text)
    assert plain(safe) == text
    assert (safe[0], safe[-1]) == ("\u2068", "\u2069")
    unescaped = [after for before, after in pairwise(safe) if before != "\\" and after in string.punctuation]
    assert set(unescaped) <= {"\\"}


@pytest.mark.parametrize("ends", [None, [], [1], [0, 2], [1, 0], [-1, 1], [0, 1.0], [False, 1], "01", (0, 1)])
def test_a_span_that_is_none_is_not_taken(ends):
    assert not heatmap.valid_span(ends, document(["a", "b"]))


def test_a_span_of_the_text_is_taken():
    assert heatmap.valid_span([0, 1], document(["a", "b"]))
    assert heatmap.valid_span([1, 1], document(["a", "b"]))


@pytest.mark.parametrize("chosen", [None, True, 1.0, "1", -1, 2, [1], {"position": 1}, 10**30])
def test_a_choice_that_is_no_prediction_is_not_taken(chosen):
    assert not heatmap.valid(chosen, document(["a", "b"], prediction(0), prediction(1)))


def test_a_choice_that_is_a_prediction_is_taken():
    assert heatmap.valid(1, document(["a", "b"], prediction(0), prediction(1)))


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Snapshot(), "Waiting"),
        (Snapshot(ahead=2), "Waiting, 2 before this"),
        (Snapshot(Status.RUNNING), "Starting"),
        (Snapshot(Status.RUNNING, stage="download", done=12e6, total=93e6), "Downloading: 12 of 93 MB"),
        (Snapshot(Status.RUNNING, stage="reading the text"), "Reading the text"),
    ],
)
def test_a_job_is_told_in_words(seen, words):
    assert results.doing(seen) == words


@pytest.mark.parametrize(("seconds", "words"), [(0.1, "a second"), (12.4, "12 s"), (100, "2 min"), (600, "10 min")])
def test_an_estimate_is_as_exact_as_it_deserves(seconds, words):
    assert inputs.duration(seconds) == words
