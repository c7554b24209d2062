"""Corpora: every format, every refusal, and a dataset that is the same however often its making was stopped."""

import errno
import importlib.util
import json
import math
import os
import random
import re
import shutil
import signal
import sys
import time
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import duckdb
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from density import cli
from density.corpus.dataset import Opened, open_dataset, settings_of
from density.corpus.rows import Measure
from density.corpus.sources import Text

TEXTS = [
    "The capital of France is Paris",
    "Nobody had seen the old man in years",
    "naïve — 東京 ok",
    "Mr Abernathy opened the door",
    "and yet here he was",
]


@pytest.fixture
def run(capsys, tiny_folder):
    """Runs the command on the tiny model; returns its exit code, standard output and standard error."""

    def call(*arguments, model=None):
        code = cli.main(["corpus", "--model", str(model or tiny_folder), *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def texts(tmp_path):
    """A file of five texts."""
    return write(tmp_path / "texts.txt", "\n".join(TEXTS) + "\n")


@pytest.fixture(autouse=True, scope="module")
def small_shards():
    """Two texts a shard, so that a few texts make several."""
    import density.corpus.dataset as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SHARD_TEXTS", 2)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_folder, small_shards):
    """A file of texts and the dataset made from it, for all tests of the module."""
    folder = tmp_path_factory.mktemp("made")
    source = write(folder / "texts.txt", "\n".join(TEXTS) + "\n")
    assert cli.main(["corpus", str(source), "--model", str(tiny_folder), "--out", str(folder / "dataset")]) == 0
    return folder


@pytest.fixture
def dataset(made, tmp_path):
    """That dataset, a copy for one test; made from ``texts``."""
    return shutil.copytree(made / "dataset", tmp_path / "o")


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def load_texts(path, **options):
    from density.corpus.sources import load_texts

    return load_texts(str(path), **options)


def files(folder):
    """What a finished dataset consists of, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "_lock"}


# Texts


FORMATS = {
    "plain.txt": "one text\r\n\n two texts \n",
    "papers.tsv": 'one text\t3\tx\n two texts \t4\t"\n',
    "headed.tsv": "n\tcontext\n1\tone text\n2\t two texts \n",
    "headed.csv": 'text,n\none text,1\n" two texts ",2\n',
    "bare.csv": "one text,1\n two texts ,2\n",
    "lines.jsonl": '{"text": "one text"}\n\n{"n": 2, "context": " two texts "}\n',
    "marked.txt": "\ufeffone text\n two texts ",
}


@pytest.mark.parametrize("name", FORMATS)
def test_texts_come_from_every_format_as_they_are(tmp_path, name):
    found = load_texts(write(tmp_path / name, FORMATS[name]))
    assert [text.text for text in found] == ["one text", " two texts "]


def test_texts_come_from_parquet_with_what_is_beside_them(tmp_path):
    rows = [
        {"id": 7, "theme": "t", "pair": None, "language": "en", "said": "one text"},
        {"id": 8, "theme": None, "pair": "p", "language": None, "said": "two"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    first, second = load_texts(tmp_path / "rows.parquet", column="said")
    assert (first.id, first.text, first.theme, first.pair, first.language) == ("7", "one text", "t", None, "en")
    assert (second.id, second.text, second.theme, second.pair, second.language) == ("8", "two", None, "p", None)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", 'id\tsaid\nx\tan "odd quote\ny\tb\n'),
        ("a.csv", 'said,id\n"an ""odd quote",x\nb,y\n'),
        ("a.jsonl", '{"id": "x", "said": "an \\"odd quote"}\n{"id": "y", "said": "b"}'),
    ],
)
def test_a_column_is_chosen_by_its_name(tmp_path, name, content):
    found = load_texts(write(tmp_path / name, content), column="said")
    assert [(text.id, text.text) for text in found] == [("x", 'an "odd quote'), ("y", "b")]


def test_a_text_of_a_table_may_be_of_any_length(tmp_path):
    (text,) = load_texts(write(tmp_path / "a.csv", "text\n" + "long " * 50_000 + "\n"))
    assert len(text.text) == 250_000


def test_without_ids_a_text_is_known_by_its_line(tmp_path):
    assert [text.id for text in load_texts(write(tmp_path / "a.txt", "a\n\nb\n"))] == ["1", "3"]


def test_a_limit_draws_texts_by_the_seed_and_keeps_their_order(tmp_path):
    path = write(tmp_path / "a.txt", "\n".join(f"text {n:03d}" for n in range(200)))
    drawn = [text.text for text in load_texts(path, limit=13, seed=1)]
    assert len(drawn) == 13
    assert drawn == sorted(drawn) == [text.text for text in load_texts(path, limit=13, seed=1)]
    assert drawn != [text.text for text in load_texts(path, limit=13, seed=2)]
    assert len(load_texts(path, limit=1000)) == 200


def test_the_sample_is_varied_and_every_text_has_a_source():
    rows = [json.loads(line) for line in Path("density/corpus/sample.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == len(load_texts("sample")) >= 200
    assert len({row["text"] for row in rows}) == len(rows)
    assert len({row["theme"] for row in rows}) >= 15
    own = "written for this sample"
    assert {"en", "fr", "grc", "zxx"} < {row["language"] for row in rows}
    assert all(row["source"] == own or re.search(r", .*(\d{3}|BC|antiquity)", row["source"]) for row in rows)
    pairs = pd.DataFrame(rows).groupby("pair").theme.agg(["size", "nunique"])
    assert len(pairs) >= 25
    assert (pairs == 2).all(axis=None)
    spaced = [row for row in rows if not re.search(r"Chinese|Japanese|Thai", row["theme"])]
    assert all(8 <= len(row["text"].split()) <= 45 for row in spaced)


WRONG_FILES = [
    ("empty.txt", "", [], "empty.txt holds no text"),
    ("blank.txt", "\n \n", [], "holds no text"),
    ("empty.csv", "", [], "holds no text"),
    ("bare.tsv", "text\n", [], "holds no text"),
    ("latin.txt", "eins\nzw\u00f6lf".encode("latin-1"), [], "not UTF-8: line 2, byte 7 of the file is 0xF6"),
    ("latin.tsv", "a\tb\nf\u00fcr".encode("latin-1"), [], "not UTF-8: line 2, byte 5"),
    ("marked.txt", b"\xef\xbb\xbfab\n\xff", [], "not UTF-8: line 2, byte 6 of the file is 0xFF"),
    ("no.tsv", "a\tb\n1\t2\n", ["--column", "c"], "no column 'c'; there are: 'a', 'b'"),
    ("no.csv", "a,b\n1,2\n", ["--column", "text"], "no column 'text'; there are: 'a', 'b'"),
    ("no.jsonl", '{"a": 1}', [], "line 1, has no column 'text' or 'context'; there are: 'a'"),
    ("odd.jsonl", '{"text": "a"}\n{', [], "line 2 is not JSON"),
    ("list.jsonl", "[1]", [], "line 1: an object such as"),
    ("number.jsonl", '{"text": 3}', [], "text 1: a text is wanted, got 3"),
    ("twice.jsonl", '{"id": 1, "text": "a"}\n{"id": 1, "text": "b"}', [], "texts 1 and 2 both have the id '1'"),
    ("quote.csv", 'text\n"a\n', [], "line 2: unexpected end of data; check its quotes"),
    ("plain.txt", "a", ["--column", "a"], "no columns; leave --column out"),
    ("not.parquet", "PAR1", [], "is no Parquet file that can be read"),
    ("what.doc", "a", [], "name a file that ends in .txt, .tsv, .csv, .jsonl, .parquet, or 'sample'"),
]


@pytest.mark.parametrize(("name", "content", "options", "message"), WRONG_FILES, ids=lambda value: str(value)[:20])
def test_a_file_that_cannot_be_used_is_refused_before_any_work(run, tmp_path, name, content, options, message):
    code, out, err = run(write(tmp_path / name, content), "--out", tmp_path / "out", *options)
    assert (code, out, len(err.strip().splitlines())) == (2, "", 1)
    assert message in err
    assert not (tmp_path / "out").exists()


WRONG_CALLS = [
    ([], "Missing option '--out'"),
    (["--out", "o", "--positions", "3,4"], "write last, last:N or all"),
    (["--out", "o", "--positions", "last:0"], "write last, last:N or all"),
    (["--out", "o", "--fidelity", "80"], "0.8 means 80%"),
    (["--out", "o", "--controls"], "add --sweep"),
    (["--out", "o", "--rule", "l3"], "no importance rule 'l3'"),
    (["--out", "o", "--limit", "0"], "--limit is 1 text or more, got 0"),
    (["--out", "o", "--limit", "many"], "'many' is no whole number"),
    (["--out", "o", "--max-tokens", "0"], "--max-tokens is 1 or more, got 0"),
    (["--out", "o", "--precision", "int8"], "precision 'int8' is not known"),
    (["--out", "o", "--device", "tpu"], "device 'tpu' is not known"),
    (["--out", "o", "--workers", "0"], "--workers is 1 or more, got 0"),
    (["--out", "o", "--workers", "2", "--dask", "tcp://a:1"], "give one of the two"),
    (["--out", "o", "--json", "no/such/x.json"], "cannot write no/such/x.json"),
]


@pytest.mark.parametrize(("options", "message"), WRONG_CALLS, ids=lambda value: " ".join(value)[:40])
def test_a_wrong_call_is_refused_before_any_work(run, texts, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(texts, *options)
    assert (code, out) == (2, "")
    assert message in err
    assert not Path("o").exists()


def test_models_are_named_once_and_exist(run, texts, tmp_path, tiny_folder):
    code, _, err = run(texts, "--out", tmp_path / "o", "--model", tiny_folder)
    assert code == 2
    assert "is given twice" in err
    code, _, err = run(texts, "--out", tmp_path / "o", "--model", "no-such-model")
    assert code == 1
    assert "'no-such-model' is no model" in err
    assert not (tmp_path / "o").exists()


def test_without_dask_its_options_say_what_to_install(run, texts, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    code, _, err = run(texts, "--out", tmp_path / "o", "--workers", 2)
    assert code == 1
    assert "pip install -r requirements-dask.txt" in err


# Rows


def test_a_row_is_what_the_profile_command_says(run, texts, tmp_path, tiny_folder):
    assert run(texts, "--out", tmp_path / "o", "--fidelity", 0.7, "--positions", "all")[0] == 0
    frame = pd.read_parquet(tmp_path / "o")
    cli.main(
        ["profile", "--model", str(tiny_folder), "--text", TEXTS[3], "--fidelity", "0.7", "--json", str(tmp_path / "p")]
    )
    document = json.loads((tmp_path / "p").read_text(encoding="utf-8"))
    rows = frame[frame.text_id == "4"].reset_index(drop=True)
    assert list(rows.position) == [one["position"] for one in document["predictions"]]
    for (_, row), expected in zip(rows.iterrows(), document["predictions"], strict=True):
        for name in ("density", "edges_full", "edges_trace", "threshold", "total_variation", "entropy", "replays"):
            assert row[name] == expected[name]
        assert list(row.top_tokens) == [token["text"] for token in expected["top_tokens"]]
        assert list(row.top_probabilities) == [token["probability"] for token in expected["top_tokens"]]
        if expected["below"]:
            assert [row.below_size, row.below_total_variation] == list(expected["below"].values())
    assert list(rows.next_id[:-1]) == [token["id"] for token in document["tokens"][1:]]
    assert rows.surprisal.isna().tolist() == [False] * (len(rows) - 1) + [True]
    assert set(rows.tokens) == {len(rows)}
    assert set(rows.added) == {0}
    assert set(frame.model) == {str(tiny_folder)}
    assert frame.curve_size.isna().all()
    assert frame.error.isna().all()


def test_a_sweep_has_the_same_numbers_whether_its_curve_is_wanted_or_not():
    from density.corpus.rows import Measure, prediction_rows
    from density.profile import profile
    from density.reading import read
    from tests.tiny import lettered

    model = lettered()
    rows = prediction_rows(read(model, "the cat sat on a mat"), Measure("last:3", sweep=True))
    plain = list(profile(read(model, "the cat sat on a mat"), positions="last:3", sweep=True))
    for row, expected in zip(rows, plain, strict=True):
        assert row["search"] == "sweep"
        assert row["replays"] == expected.replays
        assert row["density"] == expected.density
        assert row["curve_size"] == [point.trace.size for point in expected.curve]
        assert row["curve_total_variation"] == [point.total_variation for point in expected.curve]
        assert (row["auc_linear"], row["auc_log10"]) == (expected.auc_linear, expected.auc_log10)
        by_kind = zip(*(row[f"curve_edges_{kind}"] for kind in ("residual", "head", "mlp")), strict=True)
        assert [sum(kinds) for kinds in by_kind] == row["curve_edges"]
        by_quarter = zip(*(row[f"curve_edges_quarter_{number}"] for number in (1, 2, 3, 4)), strict=True)
        assert [sum(quarters) for quarters in by_quarter] == row["curve_edges"]
        assert row["curve_nucleus_recovered"][-1] == 90
        assert row["curve_top_token_agrees"][-1] is True
        agrees = [token == row["top_ids"][0] for token in row["curve_top_id"]]
        assert agrees == row["curve_top_token_agrees"] and not all(agrees)
        assert "curve_random_total_variation" not in row


@pytest.mark.parametrize("settings", ["grouped heads", "parallel", "2 of 5 experts", "window 5"])
def test_a_curve_has_what_each_of_its_traces_has_alone(settings):
    from density.corpus.curve import measure_curve
    from density.examine import examine
    from density.reading import read
    from tests.tiny import CASES, lettered

    model = lettered(next(case for case in CASES if case.settings == settings))
    points = measure_curve(read(model, "the cat sat on a mat"), 13, controls=True, seed=3)
    assert len(points) >= 10
    reading = read(model, "the cat sat on a mat")
    for point in points[::3] + points[-1:]:
        alone = examine(reading, point.trace, controls=True, seed=3)
        assert point.total_variation == pytest.approx(alone.comparison.total_variation, abs=1e-6)
        assert point.nucleus_recovered == alone.comparison.nucleus_recovered
        assert point.top_token_agrees == alone.comparison.top_token_agrees
        assert point.by_kind == alone.composition.by_kind
        assert point.random == pytest.approx(alone.random.total_variation, abs=1e-6)
        assert point.complement == pytest.approx(alone.complement.total_variation, abs=1e-6)


def test_what_is_wrong_with_one_text_is_a_row(run, tmp_path):
    texts = ["a b c", " ", "word " * 40, "half \udc00", "d e f", None]
    path = write(tmp_path / "a.jsonl", "\n".join(json.dumps({"text": text}) for text in texts))
    code, out, _ = run(path, "--out", tmp_path / "o", "--max-tokens", 20, "--json", "-")
    frame = pd.read_parquet(tmp_path / "o")
    assert code == 0
    assert list(frame.text_id) == ["1", "2", "3", "4", "5", "6"]
    assert list(frame.error.isna()) == [True, False, False, False, True, False]
    assert frame.density.isna().tolist() == [False, True, True, True, False, True]
    wrong = ["empty or blank", "the limit is 20", "surrogate pair", "empty or blank"]
    for said, error in zip(wrong, frame.error.dropna(), strict=True):
        assert said in error
    assert frame.text[3] == "half \\udc00"
    (result,) = json.loads(out)["results"]
    assert (result["texts"], result["predictions"], result["errors"]) == (6, 2, 4)


def test_duckdb_reads_a_dataset_as_it_stands(made):
    rows = duckdb.sql(f"select text_id, density from '{made / 'dataset'}/*.parquet' order by text_id").fetchall()
    frame = pd.read_parquet(made / "dataset").sort_values("text_id")
    assert rows == list(zip(frame.text_id, frame.density, strict=True)) and len(rows) == len(TEXTS)


def test_the_dataset_says_how_it_was_made(run, texts, tmp_path, tiny_folder):
    assert run(texts, "--out", tmp_path / "o", "--seed", 5)[0] == 0
    shards = sorted((tmp_path / "o").glob("*.parquet"))
    assert len(shards) == 3
    for shard in shards:
        settings = json.loads(pq.read_schema(shard).metadata[b"density"])
        assert settings["schema"] == "density.corpus/2"
        assert (settings["model"], settings["rule"], settings["seed"]) == (str(tiny_folder), "l1", 5)
        assert re.fullmatch("[0-9a-f]{64}", settings["revision"])
        assert settings["versions"].keys() == {"density", "torch", "transformers"}
    assert sorted(path.name for path in (tmp_path / "o").iterdir() if path.suffix != ".parquet") == [
        "_lock",
        "_manifest.json",
    ]


# Stopped and taken up


def child(arguments):
    """In a process of its own: the command, with three texts a shard, quiet; Dask is not imported unless asked for."""
    import density.corpus.dataset as module

    module.SHARD_TEXTS = 3
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        code = cli.main(arguments)
    assert "--workers" in arguments or "distributed" not in sys.modules
    sys.exit(code)


@pytest.fixture
def start(forks, many, tiny_folder):
    """Starts `child`, on the papers' protocol."""

    def begin(out, *options):
        arguments = ["corpus", many, "--out", out, "--model", tiny_folder, "--sweep", "--controls", *options]
        process = forks.Process(target=child, args=([str(argument) for argument in arguments],))
        process.start()
        return process

    return begin


@pytest.fixture
def many(tmp_path):
    """Sixteen short texts, one of them empty."""
    rows = [{"text": " ".join(TEXTS[(n + k) % 5][:9] for k in range(1 + n % 2)) if n != 7 else ""} for n in range(16)]
    return write(tmp_path / "many.jsonl", "\n".join(map(json.dumps, rows)))


def processor_seconds(process, until=math.inf):
    """Waits until ``process`` has ended or used so much; returns what it used. A busy machine changes nothing."""
    used, watched = 0.0, psutil.Process(process.pid)
    while process.exitcode is None and used < until:
        with suppress(psutil.Error):
            used = max(used, sum(watched.cpu_times()[:2]))
        time.sleep(0.002)
    return used


def test_killed_at_any_moment_the_dataset_ends_the_same(start, tmp_path, in_summary):
    whole = start(tmp_path / "whole")
    cost = processor_seconds(whole)
    assert whole.exitcode == 0
    expected, rng = files(tmp_path / "whole"), random.Random(0)
    kills, folders, met = 0, 0, set()
    while kills < 20:
        folder = tmp_path / f"killed-{folders}"
        folders += 1
        finished, most = False, 0.6 * cost
        while not finished:
            process = start(folder)
            processor_seconds(process, rng.uniform(0, most))
            # Where a core does less in its seconds than it did at first, it has more of them.
            most *= 1.1
            if process.exitcode is None:
                os.kill(process.pid, signal.SIGKILL)
            process.join()
            finished = process.exitcode == 0
            if not finished:
                assert process.exitcode == -signal.SIGKILL
                kills += 1
                met.add(tuple(len(list(folder.glob(kind))) for kind in ("*.parquet", "_pending/*.parquet")))
        assert files(folder) == expected
    frame = pd.read_parquet(folder)
    assert list(frame.text_id) == [str(number) for number in range(1, 17)]
    assert frame.curve_random_total_variation.notna().sum() == 15
    assert len(met) > 3
    in_summary("corpus", [f"killed {kills} times while {folders} datasets were made, in {len(met)} states of them"])


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "remove", "pending", "settings"])
def test_a_damaged_file_is_found_and_its_texts_measured_again(run, texts, dataset, harm):
    out, expected = dataset, files(dataset)
    shard = sorted(out.glob("*.parquet"))[1]
    content = shard.read_bytes()
    if harm == "flip":
        shard.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    elif harm == "cut":
        shard.write_bytes(content[:-10])
    elif harm == "empty":
        shard.write_bytes(b"")
    elif harm == "remove":
        shard.unlink()
    elif harm == "pending":
        (out / "_pending").mkdir()
        shard.replace(out / "_pending" / "00-0000002-0123456789abcdef.parquet")
    else:
        from density.corpus.dataset import serialise, shard_name

        foreign = serialise(pq.ParquetFile(shard).read().replace_schema_metadata({"density": "{}"}))
        shard.unlink()
        (out / shard_name(0, 1, foreign)).write_bytes(foreign)
    code, text, err = run(texts, "--out", out, "--json", "-")
    document = json.loads(text)
    assert code == 0
    assert document["finished_now"] == 2
    assert ("did not hold what was written" in err) == bool(document["damaged"]) == (harm != "remove")
    assert files(out) == expected


def test_what_is_finished_is_not_measured_again(run, texts, dataset, monkeypatch):
    expected = files(dataset)
    monkeypatch.setattr("density.corpus.run.load", None)
    code, _, err = run(texts, "--out", dataset)
    assert code == 0
    assert "5 of 5 texts are there already" in err
    assert files(dataset) == expected


OTHER = [
    (["--fidelity", "0.7"], "fidelity is 0.8 there and 0.7 here"),
    (["--sweep"], "sweep is False there and True here"),
    (["--positions", "all"], "positions is 'last' there and 'all' here"),
    (["--seed", "1"], "seed is 0 there and 1 here"),
    (["--limit", "3"], "texts is 5 there and 3 here; texts_sha256 is "),
    (["--precision", "bfloat16"], "precision is 'float32' there and 'bfloat16' here"),
]


@pytest.mark.parametrize(("options", "message"), OTHER, ids=lambda value: " ".join(value)[:20])
def test_other_settings_in_the_same_folder_are_refused_with_what_differs(run, texts, dataset, options, message):
    expected = files(dataset)
    code, _, err = run(texts, "--out", dataset, *options)
    assert code == 2
    assert message in err
    assert files(dataset) == expected


def test_other_weights_of_the_same_name_are_refused(run, texts, tmp_path, tiny_folder):
    mine = shutil.copytree(tiny_folder, tmp_path / "mine")
    assert run(texts, "--out", tmp_path / "o", model=mine)[0] == 0
    (tmp_path / "o" / min(files(tmp_path / "o"))).unlink()
    (mine / "notes.txt").write_text("another file")
    config = json.loads((mine / "config.json").read_text())
    (mine / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-5}))
    code, _, err = run(texts, "--out", tmp_path / "o", model=mine)
    assert code == 2
    assert re.search(r"mine: revision is '[0-9a-f]{40}'\.\.\. there and '[0-9a-f]{40}'\.\.\. here", err)


def test_a_dataset_of_another_schema_or_none_is_refused(run, texts, tmp_path, dataset):
    from density.corpus.dataset import read_dataset
    from density.errors import BadInput

    manifest = dataset / "_manifest.json"
    manifest.write_text(manifest.read_text().replace("density.corpus/2", "density.corpus/9"))
    assert "is a dataset of schema 'density.corpus/9'" in run(texts, "--out", dataset)[2]
    with pytest.raises(
        BadInput, match=r"schema 'density\.corpus/9', and this version reads and writes density\.corpus/2"
    ):
        read_dataset(dataset)
    manifest.write_text("{")
    assert "_manifest.json is damaged" in run(texts, "--out", dataset)[2]
    with pytest.raises(BadInput, match=r"is no dataset: it has no _manifest\.json"):
        read_dataset(tmp_path)


def test_a_folder_with_something_else_in_it_is_refused(run, texts, tmp_path, dataset):
    code, _, err = run(texts, "--out", texts.parent)
    assert code == 2
    assert "holds 'o' and no dataset" in err
    assert "is a file; name a folder" in run(texts, "--out", texts)[2]
    write(dataset / "mine.parquet", "x")
    assert "mine.parquet is no part of the dataset" in run(texts, "--out", dataset)[2]
    assert (dataset / "mine.parquet").exists()


def test_two_runs_do_not_write_to_one_folder(run, texts, tmp_path):
    (tmp_path / "o").mkdir()
    with FileLock(tmp_path / "o" / "_lock"):
        code, _, err = run(texts, "--out", tmp_path / "o")
    assert code == 1
    assert "another run is writing to" in err


@pytest.mark.parametrize("failing_write", [1, 4, 9])
def test_a_disk_that_fills_up_keeps_all_finished_work(run, texts, tmp_path, made, monkeypatch, failing_write):
    calls, real = [], os.fsync

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) >= 2 * failing_write - 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    out = tmp_path / "o"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        code, _, err = run(texts, "--out", out)
    assert code == 1
    assert re.search("No space left on device.*All finished work is kept: free some space, and run the same", err)
    assert not list(out.glob("**/*.partial"))
    assert run(texts, "--out", out)[0] == 0
    assert files(out) == files(made / "dataset")


def test_stopped_by_hand_it_says_that_it_can_go_on(run, texts, tmp_path, monkeypatch):
    import density.corpus.run as module
    from density.corpus.dataset import read_dataset

    real, calls = module.measure_text, []

    def stop(*given):
        calls.append(given)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(module, "measure_text", stop)
        code, out, err = run(texts, "--out", tmp_path / "o")
    assert (code, out) == (1, "")
    assert "run the same command again to go on" in err
    assert read_dataset(tmp_path / "o").num_rows == 3
    assert json.loads(run(texts, "--out", tmp_path / "o", "--json", "-")[1])["finished_before"] == 3


def test_progress_has_a_rate_and_the_time_left(run, texts, tmp_path):
    _, out, err = run(texts, "--out", tmp_path / "o")
    assert re.search(r"5/5 texts, [\d.]+ texts/s, 0:00:00 left", err)
    assert "loading" in err
    assert "texts/s" not in out


def test_memory_is_flat(run, tmp_path, monkeypatch, in_summary):
    import density.corpus.run as module

    real, memory = module.measure_text, []

    def measured(*given):
        memory.append(psutil.Process().memory_info().rss / 2**20)
        return real(*given)

    monkeypatch.setattr(module, "measure_text", measured)
    path = write(tmp_path / "a.txt", "\n".join(f"text {n}" for n in range(60)))
    assert run(path, "--out", tmp_path / "o")[0] == 0
    growth = memory[-1] - memory[20]
    in_summary("corpus", [f"memory grew by {growth:.1f} MiB over the last {len(memory) - 20} texts of {len(memory)}"])
    assert growth < 20


# Dask


needs_dask = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None,
    reason="Dask is not installed: pip install -r requirements-dask.txt",
)


@needs_dask
def test_two_workers_make_the_same_dataset_as_one_process(start, tmp_path, tiny_folder):
    other = shutil.copytree(tiny_folder, tmp_path / "other")
    processes = [
        start(tmp_path / "here", "--model", other),
        start(tmp_path / "there", "--model", other, "--workers", 2),
    ]
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert files(tmp_path / "there") == files(tmp_path / "here")


def test_the_manifest_does_not_tell_which_model_was_opened_first(tmp_path):
    texts = [Text("1", "a")]
    opened = Opened("r", "llama", "cpu", "float32")
    written = []
    for order in (["a", "b"], ["b", "a"]):
        settings = settings_of(texts, ["a", "b"], Measure(), source="x.txt", precision="float32")
        with open_dataset(tmp_path / order[0], texts, settings) as dataset:
            for name in order:
                dataset.open_model(name, opened)
        written.append((tmp_path / order[0] / "_manifest.json").read_bytes())
    assert written[0] == written[1]


@needs_dask
def test_a_cluster_that_is_there_is_used_by_its_address(run, texts, made, tmp_path):
    import distributed

    options = {"processes": False, "threads_per_worker": 1, "dashboard_address": None, "protocol": "tcp://"}
    with distributed.LocalCluster(n_workers=2, **options) as cluster:
        address = cluster.scheduler_address
        assert run(texts, "--out", tmp_path / "there", "--dask", address)[0] == 0
        code, _, err = run(texts, "--out", tmp_path / "o", "--dask", address, model=write(tmp_path / "x.bin", ""))
    assert code == 1
    assert "is not a .gguf file" in err
    assert files(tmp_path / "there") == files(made / "dataset")


@needs_dask
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "what"])
def test_a_cluster_that_does_not_answer_is_named(run, texts, tmp_path, monkeypatch, address):
    monkeypatch.setattr("density.corpus.cluster.CONNECT_SECONDS", 1)
    code, _, err = run(texts, "--out", tmp_path / "o", "--dask", address)
    assert code == 2
    assert "no Dask scheduler answers at" in err


def test_a_worker_keeps_its_model_and_goes_where_most_is_left():
    from collections import deque

    from density.corpus.cluster import next_model

    left = {0: deque(range(3)), 1: deque(range(5))}
    assert next_model(left, {"a": 0}, "a") == 0
    assert next_model(left, {}, "a") == 1
    assert next_model(left, {"b": 1}, "a") == 0
    assert next_model({0: deque(), 1: deque([4])}, {"a": 0, "b": 1}, "a") == 1
    assert next_model({0: deque(), 1: deque()}, {"a": 0}, "a") is None


def test_a_worker_with_other_versions_is_refused():
    from density.corpus.cluster import measure_there
    from density.corpus.rows import Measure
    from density.corpus.sources import Text
    from density.errors import DensityError

    with pytest.raises(DensityError, match="install the same"):
        measure_there("m", "cpu", "float32", None, {"density": "0.0.0"}, Text("1", "a"), Measure())
