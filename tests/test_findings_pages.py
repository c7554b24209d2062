"""The Corpus and Findings pages: a corpus measured, stopped, taken up and taken home; what it says; bad values."""

import io
import json
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from density import cli
from density.corpus.dataset import read_dataset
from density.errors import BadInput
from density.limits import Limits, NotAllowed
from density.serving.jobs import Status
from pages.parts import datasets as parts
from tests.made_corpus import ONE, OTHER, falling, made_corpus, swept
from tests.test_pages import PATIENCE, plain, said, settle

PAGES = Path(__file__).parents[1] / "pages"
TEXTS = "The old man\nopened the door\nand saw nobody\nat all\n"


def page(name, **link):
    app = AppTest.from_file(str(PAGES / f"{name}.py"), default_timeout=PATIENCE)
    for key, value in link.items():
        app.query_params[key] = value
    return settle(app, until=lambda app: True)


def corpus_page(tiny_folder):
    app = page("corpus")
    app.session_state["corpus-models"] = [str(tiny_folder)]
    app.session_state["corpus-limit"] = 3
    return app.run()


def finished(app):
    return "corpus-job" in app.session_state and app.session_state["corpus-job"][1].poll().finished


def press(app, label):
    next(button for button in app.button if button.label == label).click()
    return app


def datasets(home):
    return sorted(path.name for path in (home / "corpora").glob("*") if path.is_dir())


def test_a_corpus_is_measured_into_a_dataset_that_the_command_line_goes_on_with(own_home, tiny_folder, capsys):
    app = corpus_page(tiny_folder)
    assert "3 texts by 1 model: 3 to measure. Dataset sample-" in plain(said(app))
    settle(press(app, "Run"), finished)
    assert "3 texts by 1 model: 0 to measure. 3 of 3 are there already." in plain(said(app))
    assert app.success and "3 predictions of 3 texts" in " ".join(plain(one.value) for one in app.markdown)
    (name,) = datasets(own_home)
    folder = own_home / "corpora" / name
    assert read_dataset(folder).num_rows == 3
    (line,) = app.code
    assert line.value.startswith("python -m density corpus sample --out ") and "--limit 3" in line.value
    arguments = line.value.split()[3:]
    arguments[arguments.index("--out") + 1] = str(folder)
    assert cli.main([*arguments, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["finished_before"] == 3


def test_the_same_settings_go_on_where_a_run_was_stopped(own_home, tiny_folder, monkeypatch):
    from density.corpus import run

    measured, real = [], run.measure_text

    def slow(model, text, *given):
        measured.append(text.id)
        if len(measured) == 2:
            app.session_state["corpus-job"][1].cancel()
        return real(model, text, *given)

    monkeypatch.setattr(run, "measure_text", slow)
    app = corpus_page(tiny_folder)
    settle(press(app, "Run"), finished)
    assert app.session_state["corpus-job"][1].poll().status == Status.STOPPED
    assert "Run goes on from there" in said(app)
    assert "1 of 3 are there already" in plain(said(app))
    settle(press(app, "Run"), finished)
    assert app.success and len(measured) == 4 and len(set(measured)) == 3
    (name,) = datasets(own_home)
    assert read_dataset(own_home / "corpora" / name).num_rows == 3


def test_a_text_that_cannot_be_measured_is_a_row_that_says_why(own_home, tiny_folder):
    app = corpus_page(tiny_folder)
    app.session_state["corpus-max_tokens"] = 40
    settle(press(app.run(), "Run"), finished)
    (shown,) = app.dataframe
    assert shown.value["error"].str.contains("the limit is 40").all()
    assert "could not be measured" in said(app)


def test_what_is_lacking_is_said_and_nothing_is_run(own_home, tiny_folder):
    app = corpus_page(tiny_folder)
    app.session_state["corpus-models"] = []
    assert "No model is chosen" in said(app.run())
    app.session_state["corpus-models"] = ["no/such/model"]
    settle(press(app.run(), "Run"), finished)
    assert app.error and "no/such/model" in plain(app.error[0].value)
    app.session_state["corpus-source"] = "a file"
    assert "Choose a file with texts" in said(app.run())
    assert not any(button.label == "Run" for button in app.button)


def test_terms_are_accepted_before_a_model_of_a_corpus_is_fetched(own_home):
    app = page("corpus")
    app.session_state["corpus-models"] = ["gemma3-270m"]
    assert "gemma3-270m: Accept the model's terms" in plain(said(app.run()))
    press(app, "Run").run()
    assert "corpus-job" not in app.session_state
    next(box for box in app.checkbox if box.label == "I accept these terms").check()
    told = plain(said(app.run()))
    assert "Accept the model's terms" not in told and "Run fetches first, once: gemma3-270m (238 MB)" in told


def test_a_model_that_cannot_be_opened_ends_a_run_with_its_own_sentence(own_home):
    from density.corpus.rows import Measure
    from density.corpus.sources import Text
    from density.serving.corpora import Request, measure_corpus
    from density.serving.service import Service

    service = Service()
    job = measure_corpus(service, Request("a.txt", (Text("1", "a text"),), ("gemma3-270m",), Measure()))
    assert job.wait(PATIENCE) and job.poll().status is Status.FAILED
    assert job.poll().error.startswith("gemma3-270m comes with terms that have to be accepted")
    service.close()


def test_an_uploaded_file_is_measured(own_home, tiny_folder):
    app = page("corpus")
    app.session_state["corpus-models"] = [str(tiny_folder)]
    app.session_state["corpus-source"] = "a file"
    app.run().file_uploader[0].set_value(("my texts.csv", b"n,said\n1,the door\n2,the man\n", "text/csv"))
    app.run()
    next(one for one in app.selectbox if one.label == "Column").select("said").run()
    assert "2 texts by 1 model" in said(app)
    settle(press(app, "Run"), finished)
    (name,) = datasets(own_home)
    assert name.startswith("my-texts-")
    assert read_dataset(own_home / "corpora" / name).column("text").to_pylist() == ["the door", "the man"]
    assert "--column said" in app.code[0].value
    assert "asked for before" not in said(app)
    app.session_state["corpus-source"] = "the sample"
    assert f"Below is the run that was asked for before: {name}" in plain(said(app.run()))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"", "a.txt holds no text"),
        ("a.txt", b"one\n\xff", "line 2, byte 4"),
        ("a.csv", b'text\n"one', "check its quotes"),
        ("a.jsonl", b"{", "line 1 is not JSON"),
        ("a.parquet", b"PAR1", "no Parquet file"),
    ],
)
def test_a_bad_file_is_refused_as_the_command_refuses_it(name, content, reason):
    with pytest.raises(BadInput, match=reason):
        parts.read_texts.__wrapped__(name, content, None, None, 0)


def test_an_uploaded_file_s_name_leads_nowhere_and_its_columns_are_offered():
    assert parts.safe("../../etc/passwd.txt") == "passwd.txt"
    assert parts.safe(".hidden .csv") == "hidden-.csv"
    columns = {
        "a.txt": (TEXTS.encode(), []),
        "a.tsv": (b"n\tsaid\n1\tx\n", ["n", "said"]),
        "a.csv": (b'"a, b",said\n1,x\n', ["a, b", "said"]),
        "a.jsonl": (b'{"n": 1, "said": "x"}\n', ["n", "said"]),
        "b.jsonl": (b"\xff", []),
    }
    for name, (content, expected) in columns.items():
        assert parts.columns_of.__wrapped__(name, content) == expected


def test_a_server_that_writes_nothing_measures_no_corpus(own_home, tiny_folder):
    from density.corpus.rows import Measure
    from density.corpus.sources import Text
    from density.serving.corpora import Request, measure_corpus
    from density.serving.service import Service

    request = Request("a.txt", (Text("1", "one"),), (str(tiny_folder),), Measure())
    with pytest.raises(NotAllowed, match="writes nothing"):
        measure_corpus(Service(limits=Limits(read_only=True)), request)
    with pytest.raises(NotAllowed, match="512 tokens"):
        measure_corpus(Service(limits=Limits(tokens=100)), request)
    with pytest.raises(BadInput, match="no model is chosen"):
        measure_corpus(Service(), Request("a.txt", request.texts, (), Measure()))
    job = measure_corpus(Service(limits=Limits(models=("another",))), request)
    assert job.wait(PATIENCE) and "does not offer the model" in job.poll().error
    assert not (own_home / "corpora").exists()


def test_a_text_of_more_characters_than_a_server_reads_is_a_row(own_home, tiny_folder):
    from density.corpus.rows import Measure
    from density.corpus.sources import Text
    from density.serving.corpora import Request, measure_corpus
    from density.serving.service import Service

    texts = (Text("1", "one"), Text("2", "x" * 32_769))
    request = Request("a.txt", texts, (str(tiny_folder),), Measure())
    job = measure_corpus(Service(limits=Limits(tokens=512)), request)
    assert job.wait(PATIENCE) and job.poll().status is Status.DONE
    errors = pd.read_parquet(request.folder).set_index("text_id")["error"]
    assert pd.isna(errors["1"]) and "has 32,769 characters and this server reads 32,768 at most" in errors["2"]


# Findings


@pytest.fixture
def kept(own_home):
    """Two datasets that the server keeps, one of them unfinished."""

    def row(model, text, position):
        middle = 0.01 * (1 + text % 7)
        return {"entropy": float(text % 7), "density": middle, **swept(falling(middle))}

    made_corpus(own_home / "corpora" / "swept", row, texts=12, models=(ONE, OTHER), sweep=True)
    made_corpus(own_home / "corpora" / "some", lambda *_: {"density": 0.3}, texts=9, finished=5)
    return own_home / "corpora"


def test_a_models_name_is_no_markdown_where_the_figures_are_chosen(own_home):
    name = "![x](http://example.org/x.png)"
    made_corpus(own_home / "corpora" / "one", lambda *_: {"density": 0.3}, texts=9, models=(name, OTHER))
    groups = page("findings", dataset="one").get("button_group")
    (offered,) = (group.options for group in groups if group.label == "Figures of")
    assert any("http" in label for label in offered)
    assert not any(name in label for label in offered)


def test_a_linked_dataset_is_shown_with_its_verdicts_and_figures(kept):
    app = page("findings", dataset="swept")
    counts = {metric.label: int(metric.value) for metric in app.metric}
    assert set(counts) == {"Supported", "Contradicted", "Cannot tell"} and counts["Supported"] > 3
    assert all(metric.help for metric in app.metric)
    checks = f"Of {sum(counts.values())} checks: every number of the 13 claims, for each model or pair of models."
    assert checks in said(app)
    assert len(app.expander) == 13 + 1
    assert len(app.get("vega_lite_chart")) == 9
    assert f"{ONE}: 12 predictions of 12 texts" in plain(said(app))
    assert not app.exception


@pytest.mark.parametrize(
    ("linked", "missing", "shown"),
    [
        (["nope"], ["'nope'"], 0),
        (["some", "../some"], ["'../some'"], 1),
        (["some"], [], 1),
        ([str(number) for number in range(9)], ["'0'", "'1'", "'2'"], 0),
    ],
)
def test_a_links_datasets_that_are_not_there_are_passed_over_with_a_sentence(kept, linked, missing, shown):
    app = page("findings", dataset=linked)
    more = ["So were 6 others."] if len(linked) == 9 else []
    said_of = [f"The link's dataset {name} is not one that this server keeps; it was passed over." for name in missing]
    assert [plain(warning.value) for warning in app.warning] == [*said_of, *more]
    assert len(app.session_state["findings-datasets"]) == shown
    assert ("No dataset is chosen" in said(app)) == (not shown)
    assert [plain(warning.value) for warning in app.run().warning] == [*said_of, *more]


def test_datasets_are_chosen_put_together_or_refused(kept, tmp_path):
    app = page("findings")
    assert "No dataset is chosen" in said(app)
    app.session_state["findings-datasets"] = ["some"]
    assert "unfinished, of 9 texts" in plain(said(app.run()))
    app.session_state["findings-datasets"] = [str(tmp_path / "nothing")]
    assert "is no dataset" in plain(app.run().error[0].value)
    app.session_state["findings-datasets"] = ["swept"]
    app.session_state["findings-language"] = "xx"
    assert "no list of words for language" in plain(app.run().error[0].value)


def test_a_shared_server_reads_no_path_that_is_typed(kept, tmp_path, monkeypatch):
    made_corpus(tmp_path / "elsewhere", lambda *_: {"density": 0.3}, texts=5)
    monkeypatch.setattr(parts, "limits", lambda: Limits(models=("smollm2-135m", "/srv/models/")))
    app = page("findings")
    app.session_state["findings-datasets"] = [str(tmp_path / "elsewhere")]
    assert "This server does not read" in plain(said(app.run()))
    assert "No dataset is chosen" in said(app)


def test_the_files_are_whole(kept):
    from density.findings.data import flat, one_file
    from density.findings.document import find

    folder = kept / "swept"
    table = pq.read_table(io.BytesIO(one_file(folder)))
    assert table.num_rows == 24 and json.loads(table.schema.metadata[b"density"])["schema"] == "density.corpus/2"
    rows = pd.read_csv(io.StringIO(flat(folder)))
    assert len(rows) == 24 and not [name for name in rows if name.startswith("curve_")]
    assert rows["text"].map(json.loads).tolist() == table.column("text").to_pylist()
    assert rows["density"].tolist() == pytest.approx(table.column("density").to_pylist())
    found = find([folder])
    with zipfile.ZipFile(io.BytesIO(parts.archive(found))) as files:
        assert files.testzip() is None and len(files.namelist()) == 3 * len(found.figures)
