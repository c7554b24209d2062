"""The context and comparison pages: they open, answer, and meet bad values with a sentence that says what to do."""

import json
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.made_corpus import made_corpus
from tests.test_pages import PATIENCE, plain, said
from tests.test_selected import specs

PAGES = Path(__file__).parents[1] / "pages"
TEXT = "The capital of France is Paris. The capital of Italy is Rome"
PAIR = ("Mr Abernathy opened the door.", "Mr Abernathy has opened the old door.")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DENSITY_HOME", str(tmp_path_factory.mktemp("home")))
        yield


def settle(app, until=lambda app: True):
    """Draws the page again and again, as the browser does, until the engine is there and ``until`` holds."""
    deadline = time.monotonic() + PATIENCE
    while True:
        app.run(timeout=PATIENCE)
        assert not app.exception, [error.value for error in app.exception]
        if not any("starting" in caption.value for caption in app.caption) and until(app):
            return app.run(timeout=PATIENCE)
        assert time.monotonic() < deadline, said(app)
        time.sleep(0.05)


def opened(page, **link):
    """A page, as somebody sees it who followed a link."""
    app = AppTest.from_file(str(PAGES / f"{page}.py"), default_timeout=PATIENCE)
    for name, value in link.items():
        app.query_params[name] = value
    return settle(app)


def button(app, label):
    return next(one for one in app.button if one.label == label)


def ended(key):
    """Whether the job, or the series, under ``key`` is there and has ended."""

    def check(app):
        if key not in app.session_state:
            return False
        found = app.session_state[key]
        return found.finished if hasattr(found, "finished") else found[1].poll().finished

    return check


def run(app, *keys):
    """Presses Run and waits for the ends of what it asks."""
    button(app, "Run").click()
    for key in keys:
        settle(app, ended(key))
    return app


def maps(app):
    """What each heatmap was given."""
    shown = [json.loads(component.proto.json) for component in app.get("bidi_component")]
    return [data[0] for data in shown if isinstance(data, list)]


def metrics(app):
    return {metric.label: metric.value for metric in app.metric}


def rows_with(app, *fields):
    """Of every chart that has such, the rows with these fields, each once though several layers draw it."""
    found = []
    for _, rows in specs(app):
        distinct = {json.dumps(row, sort_keys=True, default=str): row for row in rows if set(fields) <= row.keys()}
        found += [list(distinct.values())] if distinct else []
    return found


@pytest.fixture(scope="module")
def context(home, tiny_folder):
    app = opened("context", model=str(tiny_folder), text=TEXT)
    return run(app, "context-reading", "context-growing")


def test_a_link_to_a_folder_runs_nothing_unasked(home, tiny_folder):
    app = opened("context", model=str(tiny_folder), text=TEXT)
    assert app.text_area[0].value == TEXT
    assert "Press Run; then click the token" in said(app)
    assert "context-reading" not in app.session_state


def test_the_context_of_one_token_grows(context):
    (cells,) = [data["cells"] for data in maps(context)]
    assert "".join(text for cell in cells[:-1] for text, _ in cell["pieces"]) == TEXT
    steps = context.session_state["context-growing"][1].poll().results
    most = context.session_state["context-position"] + 1
    assert [step["length"] for step in steps] == [n for n in (1, 2, 4, 8, 16, 32) if n < most] + [most]
    (density, *_) = rows_with(context, "value", "below")
    assert [row["value"] for row in density] == [step["prediction"]["density"] for step in steps]
    assert all(row["below"] <= row["value"] for row in density)
    first, last = steps[0]["prediction"]["density"], steps[-1]["prediction"]["density"]
    assert metrics(context)["Change"] == f"{100 * (last - first):+.1f} points"
    assert all(metric.help for metric in context.metric)
    table = context.dataframe[0].value
    assert list(table["length"]) == [step["length"] for step in steps]
    assert json.loads(table["context"].iloc[-1]) == "".join(text for cell in cells[:most] for text, _ in cell["pieces"])


def test_another_token_and_sentences_are_measured_at_once(context):
    position = context.session_state["context-position"] - 1
    context.session_state["context-position"] = position
    by = next(one for one in context.get("button_group") if one.key == "context-by")
    by.set_value("sentence")
    settle(context, ended("context-growing"))
    steps = context.session_state["context-growing"][1].poll().results
    assert steps[0]["text"].lstrip().startswith("The capital of Italy")
    assert len(steps) == 2
    assert steps[-1]["length"] == position + 1
    # A parameter's value, or the list of its values: AppTest gives both.
    assert context.query_params["by"] in ("sentence", ["sentence"])
    assert context.query_params["position"] in (str(position), [str(position)])


def test_bad_values_of_a_context_link_are_told(home, tiny_folder):
    app = opened(
        "context", model=str(tiny_folder), by="paragraph", position="-1", view="x", fidelity="7", text="One two"
    )
    told = plain(said(app))
    assert "by 'paragraph' is not one of token, sentence" in told
    assert "view 'x' is not one of text, corpus" in told
    assert "position '-1' is not a number" in told
    assert "fidelity '7' is not between 0.5 and 0.99" in told


def test_a_text_without_context_says_what_to_do(home, tiny_folder):
    app = opened("context", model=str(tiny_folder), text="placeholder")
    app.text_area[0].set_value(" ")
    settle(app)
    assert "The text is empty" in plain(said(app))
    app.text_area[0].set_value("a")
    run(app, "context-reading", "context-growing")
    # One token: only what comes after it has a context.
    assert app.session_state["context-position"] == 0
    assert "Predicting the next token" in plain(app.subheader[0].value)


@pytest.fixture(scope="session")
def other_folder(tmp_path_factory):
    """A second tiny model, whose tokenizer has a token for each byte and one before every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    from tests.tiny import LLAMA, tiny

    letters = {letter: number for number, letter in enumerate(["<|begin|>", *pre_tokenizers.ByteLevel.alphabet()])}
    made = Tokenizer(models.BPE(vocab=letters, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<|begin|>")
    folder = tmp_path_factory.mktemp("other") / "tiny-bytes"
    tokenizer.save_pretrained(folder)
    tiny(LLAMA, vocab_size=len(tokenizer), max_position_embeddings=1024, seed=1).model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(home, tiny_folder, other_folder, tmp_path_factory):
    """A corpus of five texts by two models, every prediction."""
    from density.corpus.dataset import open_dataset, settings_of
    from density.corpus.rows import Measure
    from density.corpus.run import Meter, run_here
    from density.corpus.sources import Text

    words = TEXT.split()
    texts = [Text(str(number), " ".join(words[number : number + 4])) for number in range(5)]
    measure = Measure(positions="all", fidelity=0.6)
    names = [str(tiny_folder), str(other_folder)]
    settings = settings_of(texts, names, measure, source="words", precision="float32")
    folder = tmp_path_factory.mktemp("dataset") / "made"
    with open_dataset(folder, texts, settings) as made:
        run_here(made, measure, device="cpu", precision="float32", meter=Meter(10, 0, lambda meter: None))
    return folder


def test_a_corpus_is_shown_by_context_length(dataset):
    app = opened("context", view="corpus", dataset=str(dataset))
    (bins,) = rows_with(app, "length", "predictions", "texts")
    assert [row["length"] for row in bins][:3] == ["1", "2", "3-4"]
    assert bins[0]["texts"] == 5
    below, _, of = metrics(app)["Below 0"].partition(" of ")
    assert 0 <= int(below) <= int(of) <= 5
    (bars,) = rows_with(app, "start", "texts")
    assert sum(row.get("texts") or 0 for row in bars) == int(of)


@pytest.mark.parametrize(("texts", "drawn"), [(1, False), (2, True)])
def test_lengths_without_a_mean_are_said_not_to_be_drawn(home, tmp_path, texts, drawn):
    # 1 | 2 | 3, 4 | 5 tokens.
    made_corpus(tmp_path / "few", lambda *_: {"density": 0.3}, texts=texts, positions=5)
    app = opened("context", view="corpus", dataset=str(tmp_path / "few"))
    shown = plain(said(app))
    assert ("6 of the predictions are in no bin drawn" in shown) == drawn
    assert ("no length has 4 predictions" in shown) != drawn
    assert len(app.get("vega_lite_chart")) == drawn


def test_what_is_no_dataset_is_refused(home, tmp_path):
    assert "No dataset is chosen" in said(opened("context", view="corpus"))
    app = opened("context", view="corpus", dataset=str(tmp_path))
    assert "is no dataset" in plain(said(app))
    (tmp_path / "_manifest.json").write_text(json.dumps({"schema": "density.corpus/0"}))
    app = opened("compare", view="corpus", dataset=str(tmp_path))
    assert "of schema 'density.corpus/0'" in plain(said(app))


def test_the_models_of_a_corpus_are_compared(dataset):
    app = opened("compare", view="corpus", dataset=str(dataset))
    table = app.dataframe[0].value
    assert list(table["n"]) == [5]
    (points,) = rows_with(app, "one", "other", "name")
    assert len([row for row in points if "name" in row and row["name"] == row["name"]]) == 5


@pytest.fixture(scope="module")
def models(home, tiny_folder, other_folder):
    app = opened("compare", model=[str(tiny_folder), str(other_folder)], text=TEXT, fidelity="0.60")
    return run(app, "compare-models-series")


def test_models_are_laid_above_each_other_by_word(models):
    one, other = (data["cells"] for data in maps(models))
    assert len(other) > len(one)
    # Both have the words of the text, though not its tokens.
    counts = [sum(not cell["joined"] for cell in cells[:-1]) for cells in (one, other)]
    # The second has a token before the text.
    assert counts == [len(TEXT.split()), len(TEXT.split()) + 1]
    documents = [one.document for one in models.session_state["compare-models-series"].poll()]
    values = {found["position"] + 1: found["density"] for found in documents[1]["predictions"]}
    # "The" is the three tokens after the one before the text.
    assert other[1]["share"] == pytest.approx(sum(values[at] for at in (1, 2, 3)) / 3)
    assert [cell["tint"] for cell in other[1:4]] == [other[1]["tint"]] * 3


def test_models_that_agree_are_told_with_interval_and_number(models):
    (row,) = models.dataframe[0].value.to_dict("records")
    # The first model does not predict the first word, if that is one token.
    assert row["n"] in (len(TEXT.split()), len(TEXT.split()) - 1)
    assert row["Spearman's rho"].count("[") == 1
    (points,) = rows_with(models, "one", "other", "name")
    assert {row["name"] for row in points if isinstance(row.get("name"), str)} <= set(TEXT.split())


def test_several_texts_are_compared_as_wholes(home, tiny_folder, other_folder):
    app = opened("compare", model=[str(tiny_folder), str(other_folder)], text="One two.\nThree four.\n\nOne two.")
    run(app, "compare-models-series")
    assert len(app.session_state["compare-models-series"].questions) == 4
    of = next(one for one in app.get("button_group") if one.key == "compare-of")
    of.set_value("texts")
    settle(app)
    assert app.dataframe[0].value["n"].tolist() == [2]
    assert app.dataframe[0].value["Spearman's rho"].tolist() == ["too few (n = 2)"]


def test_fewer_than_two_models_or_no_text_say_what_to_do(home, tiny_folder):
    app = opened("compare", model=str(tiny_folder), text=TEXT)
    assert "Name at least two models" in said(app)
    app = opened("compare", model=["a", "b"], text=TEXT)
    app.text_area[0].set_value("  ")
    settle(app)
    assert "There is no text" in said(app)
    app.text_area[0].set_value("\n".join(f"text {number}" for number in range(201)))
    settle(app)
    assert "There are 201 texts, and at most 200" in said(app)


def test_a_model_that_does_not_open_is_told_and_the_others_stay(home, tiny_folder, other_folder, tmp_path):
    app = opened("compare", model=[str(tiny_folder), str(tmp_path / "nothing"), str(other_folder)], text="One two.")
    run(app, "compare-models-series")
    assert "nothing" in plain(app.error[0].value)
    assert len(maps(app)) == 2
    assert len(app.dataframe[0].value) == 1


def test_terms_are_asked_for_before_a_model_is_fetched(home, tiny_folder):
    app = opened("compare", model=[str(tiny_folder), "gemma3-270m"], text=TEXT)
    told = plain(said(app))
    assert "gemma3-270m: Accept the model's terms" in told or "Run fetches first" in told


@pytest.fixture(scope="module")
def pair(home, tiny_folder):
    app = opened("compare", view="pair", model=str(tiny_folder), text=PAIR[0], second=PAIR[1], fidelity="0.60")
    return run(app, "compare-pair-series")


def test_two_texts_differ_where_they_are_aligned(pair):
    shown = maps(pair)
    assert len(shown) == 4
    first, second = (data["cells"] for data in shown[2:])
    assert "".join(text for cell in second for text, _ in cell["pieces"]) == PAIR[1]
    assert sum(cell["tint"] is not None for cell in first) == sum(cell["tint"] is not None for cell in second) > 0
    added = [cell for cell in second if ["in the other text", "not aligned"] in cell["facts"]]
    assert "has" in "".join(text for cell in added for text, _ in cell["pieces"])
    documents = [one.document for one in pair.session_state["compare-pair-series"].poll()]
    density = [{one["position"]: one["density"] for one in document["predictions"]} for document in documents]
    # The last token is the full stop in both.
    change = density[1][len(second) - 2] - density[0][len(first) - 2]
    assert second[-1]["share"] == first[-1]["share"] == pytest.approx(min(max((change / 0.4 + 1) / 2, 0), 1))
    assert {"Mean, first text", "Mean, second text", "Difference of means"} <= metrics(pair).keys()
    assert all(metric.help for metric in pair.metric)


def test_equal_and_empty_texts_say_what_to_do(home, tiny_folder):
    app = opened("compare", view="pair", model=str(tiny_folder), text="Same.", second="Same.")
    assert "Both texts are the same" in said(app)
    app.text_area[1].set_value("")
    settle(app)
    assert "one is empty" in said(app)


def test_bad_values_of_a_comparison_link_are_told(home):
    app = opened("compare", view="three", model=[f"m{number}" for number in range(9)], search="guess", text="Hello")
    told = plain(said(app))
    assert "view 'three' is not one of models, pair, corpus" in told
    assert "names 9 models; the first 6 were taken" in told
    assert "'guess' is not one of lattice, sweep" in told
