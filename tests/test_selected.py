"""The selected prediction: its size moves everything below it; switches and writing on are asked for and shown."""

import json

import pytest
from streamlit.dataframe_util import convert_arrow_bytes_to_pandas_df

from density.colours import RUN_COLOURS
from density.fidelity import NUCLEUS_PERCENTS
from density.search import EMPTY, LATTICE
from density.view import likeliest
from pages.parts.generate import as_document
from pages.parts.selected import MAKEUP_HELP, TRACE_HELP, VIEWS, size_of
from pages.parts.whatif import in_words
from tests.test_pages import opened, plain, said, settle
from tests.test_view import HOSTILE, prediction

TEXT = "The capital of France"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DENSITY_HOME", str(tmp_path_factory.mktemp("home")))
        yield


def at(tiny_folder, position=2, text=TEXT, **link):
    """The page with a prediction selected."""
    app = opened(model=str(tiny_folder), text=text, **link)
    app.button[0].click()
    settle(app)
    app.session_state.chosen = position
    app.run()
    return asked(app, "exploring")


def asked(app, key):
    """Draws the page again until what was asked under ``key`` is there and drawn."""
    return settle(app, until=lambda app: key in app.session_state and app.session_state[key][1].poll().finished)


def asked_edges(app, key="exploring"):
    """The edges of the trace that was asked about."""
    return json.loads(app.session_state[key][0][2])["edges"]


@pytest.fixture
def page(home, tiny_folder):
    return at(tiny_folder)


def specs(app):
    """The charts, each with the rows of all its layers."""
    for chart in app.get("vega_lite_chart"):
        spec, data = json.loads(chart.proto.spec), chart.proto.data.data
        rows = convert_arrow_bytes_to_pandas_df(data).to_dict("records") if data else []
        for layer in spec.get("layer", ()):
            rows += layer.get("data", {}).get("values", [])
        yield spec, rows


def drawn(app, field):
    """The rows with a ``field`` of the first chart that has it."""
    found = ([row for row in rows if field in row] for _, rows in specs(app))
    return next(filter(None, found), [])


def below(app):
    """What is said of the trace shown."""
    return next(plain(caption.value) for caption in app.caption if caption.value.startswith("Below: the trace"))


def metrics(app):
    return {metric.label: metric.value for metric in app.metric}


def test_it_begins_at_the_trace_found(page):
    slider = page.select_slider[0]
    found = page.session_state.exploring[1].poll().results[0]
    assert asked_edges(page) == found["trace"]["edges"]
    named = [name for name in slider.options if name.endswith(", the density")]
    assert named == [f"{metrics(page)['Density']}, the density"]
    assert f"{found['trace']['edges']:,} of {found['edges_full']:,} edges" in below(page)
    assert "and so reaches the 80% asked" in below(page)
    assert found["trace"]["size"] <= size_of(slider.value)


def test_every_number_has_its_definition(page):
    for view in VIEWS:
        page.session_state.view = view
        page.run()
        assert all(metric.help for metric in page.metric)
        assert all(len(metric.help.split(". ")) <= 3 for metric in page.metric)
    assert set(MAKEUP_HELP) == {markdown.value.strip("*") for markdown in page.markdown} & set(MAKEUP_HELP)


def test_after_a_sweep_all_is_of_the_sweeps_own_trace(home, tiny_folder):
    swept = at(tiny_folder, text="The capital of Spain", search="sweep")
    found = swept.session_state.exploring[1].poll().results[0]
    assert metrics(swept)["Edges"] == f"{found['trace']['edges']:,} of {found['edges_full']:,}"
    switch(swept)
    assert asked_edges(swept, "switching") == found["trace"]["edges"]
    # The search finds another.
    assert asked_edges(at(tiny_folder, text="The capital of Spain")) != found["trace"]["edges"]


def test_another_size_moves_everything_below(page):
    before = below(page)
    page.select_slider[0].set_value(40)
    asked(page, "exploring")
    found = page.session_state.exploring[1].poll().results[0]
    assert found["trace"]["size"] <= LATTICE[40]
    assert below(page) != before
    assert "does not reach" in below(page)
    rows = drawn(page, "run")
    assert found["trace"]["edges"] in {row["edges"] for row in rows}
    page.session_state.view = VIEWS[1]
    page.run()
    assert metrics(page)["Fidelity"] == f"{found['trace']['fidelity']:.1%}"
    assert [row["run"] for row in drawn(page, "run")] == ["full model", "trace"] * 10


def test_the_empty_trace_can_be_shown(page):
    page.select_slider[0].set_value(EMPTY)
    asked(page, "exploring")
    assert "the trace of 0 of" in below(page)
    for view in VIEWS:
        page.session_state.view = view
        page.run()
        assert not page.exception
    assert "No head of this trace reads from another token." in said(page)


def test_what_the_search_measured_is_on_the_curve_and_the_rest_on_asking(page):
    known = {row["edges"] for row in drawn(page, "run")}
    assert len(known) > 2
    page.button(key="measure").click()
    asked(page, "curve")
    assert {row["edges"] for row in drawn(page, "run")} > known
    assert {row["run"] for row in drawn(page, "run")} == {"trace"}
    page.toggle(key="controls").set_value(True)
    asked(page, "curve")
    assert {row["run"] for row in drawn(page, "run")} == {"trace", "random control", "complement"}


def test_what_was_measured_is_still_there_after_a_visit_to_another_token(page):
    page.toggle(key="controls").set_value(True)
    page.button(key="measure").click()
    asked(page, "curve")
    before = drawn(page, "run")
    for position in (3, 2):
        page.session_state.chosen = position
        page.run()
        asked(page, "exploring")
    assert {row["run"] for row in before} == {"trace", "random control", "complement"}
    assert drawn(page, "run") == before
    assert page.selectbox(key="take-chart").options[0] == "Fidelity against size"


def test_the_edges_drawn_are_those_taken_home(page):
    page.select_slider(key="circuit-most").set_value(50)
    page.run()
    (graph,) = (json.loads(one.proto.json) for one in page.get("bidi_component") if '"drawing"' in one.proto.json)
    count = len(graph["drawing"]["edges"]["name"])
    assert 0 < count <= 50
    assert f"most={count})" in page.code[0].value


def test_another_token_begins_at_its_own_density(page):
    page.select_slider[0].set_value(40)
    asked(page, "exploring")
    page.session_state.chosen = 3
    page.run()
    asked(page, "exploring")
    assert metrics(page)["Edges"].startswith(f"{asked_edges(page):,} of")


def switch(app, part="head", **chosen):
    """Switches a part."""
    app.selectbox(key="switch-part").set_value(part)
    app.run()
    for name, value in chosen.items():
        app.selectbox(key=f"switch-{name}").set_value(value)
    app.button(key="switch-add").click()
    return asked(app, "switching-random")


def test_a_head_switched_off_changes_the_prediction_and_is_taken_back(page):
    assert "switched off" not in " ".join(caption.value for caption in page.caption)
    switch(page, head=2, layer=1)
    assert page.session_state.switches == [
        {"layer": 1, "kind": "head", "head": 2, "query": None, "key": None, "expert": None, "on": False}
    ]
    assert {"Before", "After", "Edges off"} <= set(metrics(page))
    assert "random edges switched off instead" in said(page)
    assert "of the 8" in said(page)
    switch(page, "mlp", layer=0, at=1)
    assert [one["kind"] for one in page.session_state.switches] == ["head", "mlp"]
    page.button(key="switch-undo").click()
    page.run()
    assert [one["kind"] for one in page.session_state.switches] == ["head"]
    page.button(key="switch-0").click()
    page.run()
    assert page.session_state.switches == []
    assert "After" not in metrics(page)


def test_the_full_model_can_be_switched_too(page):
    page.session_state["switch-base"] = "full model"
    page.run()
    switch(page, None, layer=2)
    assert metrics(page)["Before"] == "0.000"
    assert float(metrics(page)["After"]) > 0
    assert RUN_COLOURS["full model"] in json.dumps([spec for spec, _ in specs(page)])


def test_what_is_switched_on_takes_nothing_away_and_says_so(page):
    page.selectbox(key="switch-part").set_value("mlp")
    page.selectbox(key="switch-turn").set_value("on")
    page.button(key="switch-add").click()
    asked(page, "switching")
    assert "No edge is taken away" in said(page)


def test_one_edge_is_switched_by_its_ends_and_back_on(page):
    layer_off = {"layer": 1, "kind": None, "head": None, "query": None, "key": None, "expert": None, "on": False}
    page.session_state.switches = [layer_off]
    for turn in ("off", "on"):
        switch(page, layer=1, head=2, at=2, **{"from": 0}, turn=turn)
        wanted = {**layer_off, "kind": "head", "head": 2, "query": 2, "key": 0, "on": turn == "on"}
        # Switched on, it is no longer switched off.
        assert page.session_state.switches == [layer_off, wanted]


def test_with_every_edge_off_it_says_that_there_is_nothing_to_compare_with(page):
    page.session_state.switches = [
        {"layer": layer, "kind": kind, "head": None, "query": None, "key": None, "expert": None, "on": False}
        for layer in range(3)
        for kind in (None, "residual_attention", "residual_mlp")
    ]
    page.run()
    asked(page, "switching")
    assert metrics(page)["Edges off"] == f"{asked_edges(page):,}"
    assert "Every edge is taken away" in said(page)


def test_a_switch_at_a_later_token_waits_for_a_prediction_that_sees_it(page):
    page.session_state.switches = [
        {"layer": 0, "kind": "mlp", "head": None, "query": 3, "key": None, "expert": None, "on": False}
    ]
    page.run()
    assert "which this prediction does not see" in said(page)
    page.session_state.chosen = 3
    page.run()
    asked(page, "switching")
    assert "After" in metrics(page)


def test_another_text_begins_without_switches(page):
    switch(page)
    page.text_area[0].set_value("another text")
    page.button[0].click()
    settle(page)
    page.session_state.chosen = 1
    page.run()
    asked(page, "exploring")
    assert page.session_state.switches == []


def test_the_model_writes_on_and_the_text_can_be_taken(page):
    page.slider(key="write-count").set_value(4)
    page.button(key="write").click()
    asked(page, "generating")
    steps = page.session_state.generating[1].poll().results
    assert len(steps) == 4
    assert "Written: 4 tokens" in said(page)
    page.button(key="write-use").click()
    page.run()
    assert page.text_area[0].value == TEXT + steps[-1]["text"]


def test_drawing_follows_the_seed_and_asking_again_writes_again(page):
    written = []
    for seed in (1, 2, 1):
        page.slider(key="write-count").set_value(6)
        page.slider(key="write-temperature").set_value(1.5)
        page.run()
        page.number_input(key="write-seed").set_value(seed)
        page.button(key="write").click()
        asked(page, "generating")
        written.append([step["chosen"]["id"] for step in page.session_state.generating[1].poll().results])
    assert written[0] == written[2] != written[1]


@pytest.mark.parametrize("text", [HOSTILE[0], HOSTILE[4], HOSTILE[7]])
def test_a_hostile_text_is_explored_and_switched(home, tiny_folder, text):
    page = at(tiny_folder, 0, text)
    for view in VIEWS:
        page.session_state.view = view
        page.run()
        assert not page.exception
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in str(list(specs(page)))
    switch(page, at=0)


def test_the_likeliest_of_both_keep_their_order():
    tokens = [
        {"id": 1, "full": 0.5, "trace": 0.1},
        {"id": 2, "full": 0.3, "trace": 0.1},
        {"id": 3, "full": 0.1, "trace": 0.7},
    ]
    assert [token["id"] for token in likeliest(tokens, 2)] == [1, 3]


def test_random_draws_are_told_with_their_number():
    words = in_words({"edges_off": 1200, "after": 0.5, "random": [0.25, 0.5, 0.75]})
    assert "1,200 random edges switched off instead: total variation 0.250 to 0.750 in 3 draws" in words
    assert "more harm than 1 of the 3" in words


def test_the_nuclei_named_are_those_looked_at():
    *smaller, largest = map(str, NUCLEUS_PERCENTS)
    assert f"largest of {', '.join(smaller)} and {largest}% for which" in TRACE_HELP["nucleus_recovered"]


def test_what_was_written_is_a_profile_of_its_own():
    half = {"text": "\N{REPLACEMENT CHARACTER}", "probability": 1.0}
    steps = [
        {"prediction": prediction(9), "chosen": {"text": " a", "id": 4, "probability": 0.5}, "text": " a"},
        {"prediction": prediction(10), "chosen": {**half, "id": 5}, "text": " a"},
        {"prediction": prediction(11), "chosen": {**half, "id": 6}, "text": " aé"},
    ]
    document = as_document(steps, 0.8)
    assert [token["text"] for token in document["tokens"]] == [" of", " a", "\N{REPLACEMENT CHARACTER}", "é"]
    assert [found["position"] for found in document["predictions"]] == [0, 1, 2]
