"""The page of rare tokens: a text, a corpus and a swap, by way of the tiny model; bad values meet a sentence."""

import json
import math
import shutil

import pytest
import wordfreq
from streamlit.testing.v1 import AppTest

from density import frequency, rare
from density.limits import Limits
from pages.parts import datasets
from tests.browsing import ROOT
from tests.test_pages import PATIENCE, plain, said, settle
from tests.test_rare import COUNTED

LINES = (
    *("The old man of the capital.", "The cat sat, old man.", "Of the cats.", "A capital man!", "The old, old cat."),
    *("Cats sat.", "A man sat.", "Of old.", "The capital.", "Old man, sat."),
)


@pytest.fixture
def counted(own_home, monkeypatch):
    """A language of a few words, on a machine where nothing is kept."""
    monkeypatch.setattr(wordfreq, "get_frequency_dict", lambda language, wordlist: COUNTED)
    monkeypatch.setattr(frequency, "_tables", frequency.Recent(2))
    return own_home


def rare_page(**link):
    """The page, as somebody sees it who followed a link."""
    app = AppTest.from_file(str(ROOT / "pages" / "rare.py"), default_timeout=PATIENCE)
    for name, value in link.items():
        app.query_params[name] = value
    return settle(app, until=lambda app: True)


def press_run(app, series):
    next(button for button in app.button if button.label == "Run").click()
    return settle(app, until=lambda app: series in app.session_state and app.session_state[series].finished)


def correlations(app):
    """The table of correlations; none until it is there."""
    tables = [table.value for table in app.dataframe if "rho" in table.value]
    return tables[0] if tables and len(tables[0]) == len(rare.PREDICTORS) else None


def test_a_text_gets_its_coverage_its_correlations_and_its_tokens_in_context(counted, tiny_folder):
    app = press_run(rare_page(model=str(tiny_folder), text=LINES[0]), "rare-text-series")
    settle(app, until=lambda app: correlations(app) is not None)
    table = correlations(app)
    assert table["against"].tolist() == [one.label for one in rare.PREDICTORS.values()]
    count = app.session_state["rare-text-series"].poll()[0].whole["tokens"][-1]["index"] + 1
    assert table["n"].tolist()[3] == count and table["n"].tolist()[0] < count - 1
    assert table["texts"].tolist()[2:] == [1] * (len(table) - 2) and set(table["texts"]) <= {0, 1}
    assert "they are too narrow" in plain(said(app))
    assert f"Of {count - 1} tokens that came" in plain(said(app)) and "Not covered" in plain(said(app))
    assert "Frequencies in en" in plain(said(app))
    pressed = next(button for button in app.button if button.key == "rare-text-costliest-0").click()
    assert "**" in pressed.label
    app.run()
    assert "go to the Explorer" in plain(said(app))
    assert (app.session_state.link["text"], app.session_state.link["model"]) == (LINES[0], str(tiny_folder))
    document = rare_document(app)
    assert document[app.session_state.chosen]["density"] == max(found["density"] for found in document)


def rare_document(app):
    """The predictions of the text last measured."""
    return app.session_state["rare-text-series"].poll()[0].whole["predictions"]


def test_the_tokens_listed_are_of_the_sense_chosen(counted, tiny_folder):
    app = press_run(rare_page(model=str(tiny_folder), text=LINES[0]), "rare-text-series")
    settle(app, until=lambda app: correlations(app) is not None)
    assert any("Rarest tokens that came" in text.value for text in app.markdown)
    came = {found["next_token"].strip() for found in rare_document(app) if found["next_token"]}
    labels = [button.label for button in app.button if button.key.startswith("rare-text-rarest")]
    assert labels and all(any(token in plain(label) for token in came) for label in labels)
    app.session_state["rare-text-against"] = rare.PREDICTED
    app.run()
    assert any("Rarest tokens predicted" in text.value for text in app.markdown)
    # What random weights find likeliest need not have a frequency.
    labels = [button.label for button in app.button if button.key.startswith("rare-text-rarest")]
    likeliest = {found["top_tokens"][0]["text"].strip() for found in rare_document(app)}
    assert all(any(token in plain(label) for token in likeliest) for label in labels)


def measured(folder, tiny_folder, positions):
    """A dataset of these predictions of `LINES`, and of one text that cannot be measured."""
    from density.corpus.dataset import Opened, open_dataset, settings_of
    from density.corpus.rows import Measure, measure_text
    from density.corpus.sources import Text
    from density.models import open_model

    texts = [Text(f"t{number}", line) for number, line in enumerate((*LINES, " "))]
    measure = Measure(positions=positions)
    settings = settings_of(texts, [str(tiny_folder)], measure, source="lines.txt", precision="float32")
    model = open_model(str(tiny_folder))
    with open_dataset(folder, texts, settings) as made:
        made.open_model(str(tiny_folder), Opened.of(model))
        for number, text in enumerate(texts):
            made.add(0, number, measure_text(model, text, measure))
    return folder


@pytest.fixture(scope="module")
def dataset_folder(tmp_path_factory, tiny_folder):
    """Every prediction."""
    return measured(tmp_path_factory.mktemp("corpora") / "lines", tiny_folder, "all")


def test_a_corpus_of_last_predictions_says_why_there_is_nothing_to_draw(counted, tmp_path, tiny_folder):
    app = rare_page(view="corpus", dataset=str(measured(tmp_path / "ends", tiny_folder, "last")))
    settle(app, until=lambda app: correlations(app) is not None)
    assert "all of these predictions are at the ends of their texts" in plain(app.info[0].value)
    assert not app.get("vega_lite_chart")
    app.session_state["rare-corpus-against"] = "entropy"
    settle(app, until=lambda app: app.get("vega_lite_chart"))
    assert not app.info


def test_a_corpus_has_intervals_over_its_texts(counted, dataset_folder, tiny_folder):
    app = rare_page(view="corpus", dataset=str(dataset_folder))
    settle(app, until=lambda app: correlations(app) is not None)
    table = correlations(app)
    assert table["texts"].tolist()[2:] == [len(LINES)] * (len(table) - 2)
    assert all("[" in rho for rho in table["rho"][2:])
    counts = f"predictions of {len(LINES)} texts by {tiny_folder}; 1 texts could not be measured"
    assert counts in plain(said(app))
    next(button for button in app.button if button.key == "rare-corpus-costliest-0").click()
    app.run()
    assert app.session_state.link["text"] in LINES


def test_a_model_of_another_revision_counts_nothing(counted, dataset_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(dataset_folder, copy)
    manifest = json.loads((copy / "_manifest.json").read_text())
    for opened_as in manifest["opened"].values():
        opened_as["revision"] = "0" * 64
    (copy / "_manifest.json").write_text(json.dumps(manifest))
    app = rare_page(view="corpus", dataset=str(copy))
    settle(app, until=lambda app: "measure it again" in plain(said(app)))
    assert "revision 000000000000" in plain(said(app))
    assert correlations(app) is None


@pytest.mark.parametrize("given", ["nowhere", "a\0b", "~/nothing"])
def test_a_folder_that_is_no_dataset_is_refused(counted, given):
    app = rare_page(view="corpus", dataset=given)
    assert len(app.error) == 1


def test_without_a_dataset_the_page_says_how_to_make_one(counted):
    assert "python -m density corpus sample" in rare_page(view="corpus").info[0].value


def test_a_server_for_others_reads_its_own_datasets_alone(counted, dataset_folder, monkeypatch):
    (counted / "corpora").mkdir(parents=True)
    (counted / "corpora" / "kept").symlink_to(dataset_folder)
    monkeypatch.setattr(datasets, "limits", lambda: Limits(models=("smollm2-135m",)))
    app = rare_page(view="corpus", dataset=str(dataset_folder))
    assert "No dataset is chosen" in app.info[0].value
    assert "is not one that this server keeps" in plain(app.warning[0].value)
    (choice,) = (box for box in app.selectbox if box.label == "Dataset")
    assert choice.options == ["kept"]
    app.session_state["rare-dataset"] = "kept"
    app.run()
    assert f"predictions of {len(LINES)} texts" in plain(said(app))


def test_a_word_is_swapped_and_the_texts_are_laid_above_each_other(counted, tiny_folder):
    app = rare_page(view="swap", model=str(tiny_folder), text=LINES[0], word="2", to="cat")
    (word,) = (box for box in app.selectbox if box.label == "Word")
    assert word.options[word.value] == "man"
    press_run(app, "rare-swap-series")
    table = next(table.value for table in app.dataframe if "Zipf" in table.value)
    assert table["word"].tolist() == ["man", "cat"]
    assert table["Zipf"].tolist()[0] == f"{9 + math.log10(COUNTED['man']):.2f}"
    assert "points" in table["density"][1] and "points" not in table["density"][0]
    shown = [json.loads(component.proto.json) for component in app.get("bidi_component")]
    boards = [data[0] for data in shown if isinstance(data, list)]
    texts = ["".join(piece for cell in board["cells"] for piece, _ in cell["pieces"]) for board in boards]
    assert texts[0].startswith(LINES[0]) and texts[1].startswith("The old cat of the capital.")
    marked = [
        "".join(piece for cell in board["cells"] if cell["marked"] for piece, _ in cell["pieces"]) for board in boards
    ]
    assert [text.strip() for text in marked] == ["man", "cat", "cat"]
    # Before the word nothing can differ.
    before = [cell for cell in boards[2]["cells"] if cell["position"] >= 0][:2]
    assert all("+0.0 points" in cell["label"] for cell in before)


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ({"text": "!?"}, "The text has no word to replace"),
        ({"text": "One word", "word": "0"}, "No other word is given"),
        ({"text": "One word", "to": [f"w{n}" for n in range(12)]}, None),
        ({"text": "One word", "word": "99", "to": "two"}, None),
        ({"view": "nowhere"}, "The link's view 'nowhere' is not one of text, corpus, swap"),
    ],
)
def test_bad_values_of_a_link_are_met_with_a_sentence(counted, tiny_folder, link, expected):
    app = rare_page(**{"view": "swap", "model": str(tiny_folder), **link})
    assert not app.exception
    if expected:
        assert expected in plain(said(app))


def test_a_word_offered_is_taken(counted, tiny_folder):
    app = rare_page(view="swap", model=str(tiny_folder), text=LINES[0], word="2", to="cat")
    app.session_state["rare-zipf"] = 7.0
    app.run()
    assert "The list has no word there" in said(app)
    assert app.text_area(key="rare-replacements").value == "cat"
