"""What the README shows works as it stands."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from density import cli
from density.families import FAMILIES

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
ROOT = Path(__file__).parents[1]


def block(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.real_model
def test_the_python_lines_run_in_eight_lines_or_fewer(smollm2):
    (lines,) = block("python")
    assert len([line for line in lines.splitlines() if line.strip()]) <= 8
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(lines, "README.md", "exec"), {})
    assert re.search(r"^ is [\d.]+%  Paris$", printed.getvalue(), re.MULTILINE)
    assert len(printed.getvalue().splitlines()) == 5


@pytest.mark.real_model
def test_every_command_line_runs(smollm2, capsys):
    calls = [line for lines in block("sh") for line in lines.splitlines() if line.startswith("python -m density")]
    assert len(calls) >= 4
    for call in calls:
        assert cli.main(shlex.split(call)[3:]) == 0
    assert "Paris" in capsys.readouterr().out


def test_every_make_target_named_is_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"make ([a-z-]+)", README)) - {"it"}
    assert named >= {"app", "test"}
    for name in named:
        assert re.search(rf"^{name}:", makefile, re.MULTILINE), name


def test_every_file_of_the_engine_is_listed_and_every_file_listed_is_there():
    (tree,) = re.findall(r"```\n(app\.py.*?)```", README, re.DOTALL)
    listed = {line.split()[0] for line in tree.splitlines() if line.startswith("  ")}
    others = {line.split()[0] for line in tree.splitlines() if not line.startswith("  ")}
    there = {path.name for path in (ROOT / "density").glob("*.py") if not path.name.startswith("__")}
    folders = {f"{path.parent.name}/" for path in (ROOT / "density").glob("*/__init__.py")}
    assert listed == there | folders
    assert all((ROOT / place).exists() for place in others)


def test_every_family_is_named():
    assert all(f"`{name}`" in README for name in FAMILIES)
