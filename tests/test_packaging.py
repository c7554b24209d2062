"""The package installs, brings what it needs, and runs from anywhere; what describes it says the same."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

from density.version import __version__

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The package as it is installed; built with this environment's setuptools, so that nothing is downloaded."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    # Built from a copy: setuptools leaves its folders beside pyproject.toml.
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "density", *BUILT_FROM],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    (built,) = folder.glob("*.whl")
    return built


BUILT_FROM = ("pyproject.toml", "requirements.txt", "README.md", "LICENSE")


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, text=True)


def test_the_package_holds_the_engine_and_what_it_reads_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {"density", f"density_explorer-{__version__}.dist-info"}
    shipped = {name for name in names if name.startswith("density/")}
    files = {path for path in (ROOT / "density").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert shipped == {str(path.relative_to(ROOT)) for path in files}
    assert "density/corpus/sample.jsonl" in shipped


def test_the_package_asks_for_what_is_pinned_and_no_other_torch(wheel):
    name = f"density_explorer-{__version__}.dist-info/METADATA"
    metadata = zipfile.ZipFile(wheel).read(name).decode()
    asked = set(re.findall(r"^Requires-Dist: (.+)$", metadata, re.MULTILINE))
    pinned = {
        line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and not line.startswith("#")
    }
    assert asked == pinned and all("==" in line for line in asked)
    assert any(line.startswith("torch==") for line in asked)


def test_installed_elsewhere_the_command_runs_and_finds_its_sample(wheel, tmp_path):
    """In an environment of its own, which sees what is installed here."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    there = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "here.pth").write_text(sysconfig.get_paths()["purelib"])
    pip("--python", there, "install", "--no-deps", "--no-index", wheel)
    (tmp_path / "empty").mkdir()
    environment = {**os.environ, "DENSITY_HOME": str(tmp_path / "home"), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}

    def run(*command):
        options = {"cwd": tmp_path / "empty", "env": environment, "capture_output": True, "text": True}
        return subprocess.run(command, check=True, **options).stdout

    listed = json.loads(run(tmp_path / "venv" / "bin" / "density", "models", "--json", "-"))
    assert listed["schema"] == "density.models/1" and listed["models"][0]["name"] == "smollm2-135m"
    code = "from density.corpus import sources as s; print(s.__file__, len(s.load_texts('sample')))"
    place, texts = run(there, "-c", code).split()
    assert place.startswith(str(tmp_path)) and int(texts) == 237


def test_every_description_has_the_same_version_and_licence():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {__version__}\n" in citation and f"license: {project['license']}\n" in citation
    assert "arXiv:2605.27033" in citation and "arXiv:2601.22795" in citation
    assert f"{__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_image_has_what_the_app_reads_and_runs_as_nobody_in_particular():
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^FROM python:3\.\d+\.\d+-slim-\w+$", image, re.MULTILINE)
    assert re.search(r"^USER (?!0|root)\d+", image, re.MULTILINE)
    assert "/_stcore/health" in image and "VOLUME /data" in image and "DENSITY_HOME=/data" in image
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored and all((ROOT / name).exists() for name in kept)
    assert kept >= {"app.py", "assets", "density", "pages", "requirements.txt", ".streamlit/config.toml"}
