"""The command line: the JSON of the contract, one line for every failure, and the exit codes."""

import json
import math
import os
import re
import subprocess
import sys

import pytest

from density import cli
from density.health import Health
from tests.tiny import LAYERS

TEXT = "The capital of France"
HEADS = 4


@pytest.fixture
def run(capsys, tiny_folder):
    """Runs a command on the tiny model; returns its exit code, standard output and standard error."""

    def call(command, *arguments, model=True):
        named = ["--model", str(tiny_folder)] if model else []
        code = cli.main([command, *named, *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def strict(text):
    """JSON without NaN or infinities."""

    def refuse(name):
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)


PROVENANCE = {"schema", "model", "revision", "rule", "device", "precision", "seed", "versions", "health"}
PROVENANCE |= {"text", "tokens"}
PREDICTION = {
    *("position", "context_token", "next_token", "next_id", "surprisal", "entropy", "top_tokens", "edges_full"),
    *("edges_trace", "density", "threshold", "total_variation", "below", "replays"),
}
TRACE = {
    *("size_requested", "size", "edges", "threshold", "total_variation", "fidelity", "jensen_shannon"),
    *("top_token_agrees", "nucleus_recovered", "top_tokens", "by_kind", "by_layer", "connected_to_input"),
}


def test_a_profile_has_the_keys_of_the_contract(run, tiny_folder):
    code, out, _ = run("profile", "--text", TEXT, "--fidelity", 0.7, "--seed", 5, "--json", "-")
    document = strict(out)
    assert code == 0
    assert document.keys() == {*PROVENANCE, "fidelity", "search", "predictions"}
    assert (document["schema"], document["search"], document["fidelity"]) == ("density.profile/1", "lattice", 0.7)
    assert (document["model"], document["rule"], document["seed"]) == (str(tiny_folder), "l1", 5)
    assert document["versions"].keys() == {"density", "torch", "transformers"}
    assert document["health"]["full_replay_tv"] < 1e-5
    assert document["health"]["max_state_error"] < 1e-5
    assert "".join(token["text"] for token in document["tokens"]) == document["text"] == TEXT
    assert [token["index"] for token in document["tokens"]] == list(range(len(document["tokens"])))
    assert [p["position"] for p in document["predictions"]] == list(range(len(document["tokens"])))
    for prediction in document["predictions"]:
        n = prediction["position"] + 1
        assert prediction.keys() == PREDICTION
        assert prediction["edges_full"] == (LAYERS - 1) * (HEADS * n * (n + 1) // 2 + 3 * n) + HEADS * n + 3
        assert prediction["density"] == prediction["edges_trace"] / prediction["edges_full"]
        assert prediction["total_variation"] <= 0.3 + 1e-12
        assert prediction["below"] is None or prediction["below"]["total_variation"] > 0.3
        assert len(prediction["top_tokens"]) == 10
        assert prediction["top_tokens"][0].keys() == {"text", "id", "probability"}
    assert document["predictions"][0]["next_token"] == document["tokens"][1]["text"]
    assert document["predictions"][-1]["next_token"] is None


def test_a_sweep_adds_the_curve_and_both_areas(run):
    _, out, _ = run("profile", "--text", TEXT, "--positions", "last", "--sweep", "--json", "-")
    document = strict(out)
    (prediction,) = document["predictions"]
    assert document["search"] == "sweep"
    assert prediction.keys() == PREDICTION | {"curve", "auc_linear", "auc_log10"}
    assert prediction["curve"][0].keys() == {"size", "edges", "threshold", "total_variation"}
    assert prediction["curve"][-1]["size"] == 1


def test_a_trace_has_the_keys_of_the_contract(run):
    arguments = ["--position", -2, "--sizes", "0.1,0.5", "--controls", "--edges", 7, "--seed", 2, "--json", "-"]
    code, out, _ = run("trace", "--text", TEXT, *arguments)
    document = strict(out)
    assert code == 0
    assert document.keys() == {*PROVENANCE, "position", "edges_full", "full", "traces"}
    assert document["schema"] == "density.trace/1"
    assert document["position"] == len(document["tokens"]) - 2
    assert document["full"].keys() == {"entropy", "top_tokens"}
    for size, trace in zip((0.1, 0.5), document["traces"], strict=True):
        assert trace.keys() >= {*TRACE, "random", "complement", "strongest"}
        assert trace["size_requested"] == size
        assert 0 < trace["edges"] <= math.floor(size * document["edges_full"])
        assert trace["size"] == trace["edges"] / document["edges_full"]
        assert trace["fidelity"] == 1 - trace["total_variation"]
        assert trace["by_kind"].keys() == {"residual", "head", "mlp"}
        assert sum(trace["by_kind"].values()) == sum(trace["by_layer"]) == trace["edges"]
        assert len(trace["by_layer"]) == LAYERS
        assert trace["random"].keys() == {"seed", "edges", "edges_kept", "total_variation"}
        assert trace["random"]["edges"] == trace["edges"]
        assert trace["complement"].keys() == {"edges", "edges_kept", "total_variation"}
        assert trace["complement"]["edges"] == document["edges_full"] - trace["edges"]
        assert len(trace["strongest"]) == 7
        keys = {"kind", "layer", "head", "query", "key", "importance", "entry"}
        assert all(edge.keys() >= keys and edge["kind"] in trace["by_kind"] for edge in trace["strongest"])


@pytest.mark.parametrize("by", [["--fidelity", 0.5], ["--thresholds", "1e-3,0.05"]])
def test_traces_by_fidelity_and_by_thresholds(run, by):
    _, out, _ = run("trace", "--text", TEXT, "--position", -1, *by, "--json", "-")
    for trace in strict(out)["traces"]:
        assert trace["size_requested"] is None
        assert "random" not in trace
        assert "strongest" not in trace


def test_the_catalogue_has_the_keys_of_the_contract(run, own_home):
    code, out, _ = run("models", "--json", "-", model=False)
    document = strict(out)
    assert (code, document["schema"]) == (0, "density.models/1")
    assert [model["name"] for model in document["models"]] == ["smollm2-135m", "gemma3-270m"]
    keys = {"name", "family", "parameters", "licence", "source", "download_bytes", "state"}
    for model in document["models"]:
        assert model.keys() == keys
        assert model["state"] == "to fetch"


def test_a_check_passes_and_says_how_exactly(run, tiny_folder):
    code, out, _ = run("check", tiny_folder, "--json", "-", model=False)
    document = strict(out)
    assert code == 0
    assert document.keys() >= {"schema", "model", "family", "health", "passed"}
    assert (document["schema"], document["family"], document["passed"]) == ("density.check/1", "llama", True)


def test_a_check_that_does_not_pass_exits_with_1_and_its_figures(run, tiny_folder, monkeypatch):
    monkeypatch.setattr(cli, "check_model", lambda model: Health(0.2, 1e-6, 3.0))
    code, out, err = run("check", tiny_folder, "--json", "-", model=False)
    assert code == 1
    assert "fails its self-check: full replay's total variation 0.2" in err.splitlines()[-1]
    assert strict(out)["passed"] is False
    assert strict(out)["health"]["full_replay_tv"] == 0.2


def test_a_model_that_fails_its_check_is_not_profiled(run, monkeypatch):
    monkeypatch.setattr("density.health.check", lambda model: Health(0.2, 1e-6, 3.0))
    code, out, err = run("profile", "--text", TEXT)
    assert (code, out) == (1, "")
    assert "fails its self-check" in err


def test_json_goes_to_a_file_as_well(run, tmp_path):
    target = tmp_path / "profile.json"
    code, out, _ = run("profile", "--text", "a b", "--json", target)
    assert (code, out) == (0, "")
    assert strict(target.read_text(encoding="utf-8"))["text"] == "a b"


def test_the_text_may_come_from_a_file(run, tmp_path):
    source = tmp_path / "text.txt"
    source.write_bytes("naïve — 東京\r\n".encode())
    _, out, _ = run("profile", "--file", source, "--positions", "last", "--json", "-")
    assert strict(out)["text"] == "naïve — 東京\r\n"


@pytest.mark.parametrize("text", ["a", "tab\there\x00\x1b[0m", "👩‍👩‍👧 ok", "שלום עולם", "\u202eabc\u200b"])
def test_odd_texts_come_back_as_they_were(run, text):
    code, out, _ = run("profile", "--text", text, "--positions", "last:2", "--json", "-")
    assert code == 0
    assert strict(out)["text"] == text
    assert "".join(token["text"] for token in strict(out)["tokens"]) == text


def test_tables_show_one_row_a_prediction_and_a_trace(run):
    _, out, _ = run("profile", "--text", "[bold]a[/bold]", "--positions", "last:2")
    assert "next:" in out
    assert len(re.findall(r"^ +\d+  ", out, re.MULTILINE)) == 2
    _, out, _ = run("trace", "--text", TEXT, "--position", -1, "--sizes", "0.1,0.2,0.9")
    assert len(re.findall(r"^ *[\d.]+%  ", out, re.MULTILINE)) == 3


WRONG_CALLS = [
    (["profile"], "give the text with --text or with --file, one of the two"),
    (["profile", "--text", "a", "--file", "b"], "one of the two"),
    (["profile", "--file", "no/such/file"], "cannot read no/such/file: No such file"),
    (["profile", "--text", ""], "the text is empty or blank"),
    (["profile", "--text", "half \udcff"], r"half of a surrogate pair \(U\+DCFF\)"),
    (["profile", "--text", "a b c", "--max-tokens", "2"], "the limit is 2"),
    (["profile", "--text", "a", "--fidelity", "0"], r"fidelity is a share in \(0, 1\], got 0.0"),
    (["profile", "--text", "a", "--fidelity", "80"], "0.8 means 80%"),
    (["profile", "--text", "a", "--fidelity", "nan"], "got nan"),
    (["profile", "--text", "a", "--fidelity", "high"], "'high' is no number; write one such as 0.8"),
    (
        ["profile", "--text", "a", "--positions", "7"],
        r"position 7 is outside the text's 1 tokens: use 0\.\.0, or -1\.\.-1",
    ),
    (["profile", "--text", "a", "--positions", "some"], "write all, last, last:N or numbers"),
    (["profile", "--text", "a", "--rule", "l3"], "no importance rule 'l3'; choose one of l1, l2, ifr, projection"),
    (["profile", "--text", "a", "--device", "tpu"], "device 'tpu' is not known"),
    (["profile", "--text", "a", "--precision", "int8"], "precision 'int8' is not known"),
    (["profile", "--text", "a", "--max-tokens", "0"], "the limit is 0"),
    (["profile", "--text", "a", "--seed", "1.5"], "'1.5' is no whole number"),
    (["profile", "--text", "a", "--json", "no/such/folder/x.json"], "cannot write no/such/folder/x.json"),
    (["trace", "--text", "a"], "Missing option '--position'"),
    (["trace", "--text", "a", "--position", "0"], "by a fidelity, by sizes or by thresholds"),
    (["trace", "--text", "a", "--position", "1", "--sizes", "0.5"], "position 1 is outside"),
    (["trace", "--text", "a", "--position", "0", "--sizes", "half"], "write numbers separated by commas"),
    (["trace", "--text", "a", "--position", "0", "--sizes", "0"], r"in \(0, 1\], got 0.0"),
    (["trace", "--text", "a", "--position", "0", "--sizes", "0.5", "--fidelity", "0.5"], "one of the three"),
    (["trace", "--text", "a", "--position", "0", "--fidelity", "1.2"], "got 1.2"),
    (["trace", "--text", "a", "--position", "0", "--sizes", "0.5", "--edges", "-1"], "0 edges or more, got -1"),
]


@pytest.mark.parametrize(("call", "message"), WRONG_CALLS, ids=lambda value: " ".join(value)[:60])
def test_a_wrong_call_is_one_line_and_exits_with_2(run, call, message):
    code, out, err = run(call[0], *call[1:])
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert re.search(message, err)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (["fetch", "gpt-5"], "'gpt-5' is not in the catalogue; what is there: smollm2-135m, gemma3-270m"),
        (["fetch", "gemma3-270m"], "comes with terms that have to be accepted"),
        (["check", "no-such-model"], "'no-such-model' is no model: give a name of the catalogue"),
        (["check", "../../etc/passwd"], "there is no file or folder|is not a .gguf file"),
    ],
)
def test_any_other_failure_is_one_line_and_exits_with_1(run, own_home, call, message):
    code, out, err = run(call[0], *call[1:], model=False)
    assert (code, out) == (1, "")
    assert len(err.strip().splitlines()) == 1
    assert re.search(message, err)


def test_nothing_is_left_of_a_file_when_the_work_fails(run, tmp_path):
    target = tmp_path / "out.json"
    code, *_ = run("profile", "--text", " ", "--json", target)
    assert code == 2
    assert not target.exists()


def test_help_teaches(run, capsys):
    for command in ("profile", "trace", "models", "fetch", "check"):
        code, out, _ = run(command, "--help", model=False)
        assert code == 0
        assert out.startswith("Usage: density")
        assert "\n\n  " in out


def test_the_module_runs_as_a_program_with_json_alone_on_standard_output(tiny_folder):
    command = [sys.executable, "-m", "density", "profile", "--model", str(tiny_folder), "--text", "a b", "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 1
    assert strict(done.stdout)["text"] == "a b"


def test_json_is_utf_8_and_errors_are_one_line_whatever_the_locale(tiny_folder):
    elsewhere = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    given = ["profile", "--model", str(tiny_folder), "--positions", "last", "--text", "日本"]

    def call(*more):
        command = [sys.executable, "-m", "density", *given, *more]
        return subprocess.run(command, capture_output=True, env=elsewhere, check=False)

    as_json, table, refused = call("--json", "-"), call(), call("--fidelity", "2")
    assert strict(as_json.stdout.decode())["text"] == "日本" and as_json.stderr == b""
    assert table.returncode == 0 and b"fidelity" in table.stdout
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1


def test_nothing_asked_is_answered_with_help_and_a_wrong_call_with_where_it_is(run, capsys):
    assert cli.main([]) == 0
    assert capsys.readouterr().out.startswith("Usage: density")
    code, _, err = run("nosuch", model=False)
    assert code == 2 and err == "density: No such command 'nosuch'. See 'density --help'.\n"
    code, _, err = run("trace", "--text", "a")
    assert code == 2 and err == "density: Missing option '--position'. See 'density trace --help'.\n"


def test_what_only_some_commands_need_is_not_waited_for_by_all():
    lines = "import sys; from density import cli; assert cli.main(['models', '--json', '-']) == 0; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "density.findings.command" in loaded and "torch" in loaded
    assert loaded.isdisjoint(
        {"transformers.modeling_utils", "scipy.stats", "altair", "wordfreq", "distributed", "streamlit"}
    )
