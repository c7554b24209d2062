"""What tests share: the real model, a tiny one with a tokenizer, a cache folder of one's own, tables in the summary.

Modules of ``density`` are imported in the fixtures: before pytest is configured their shapes would not be checked.
"""

import multiprocessing
import os
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch

EXAMPLE_TEXTS = [
    "The capital of France is Paris, and the capital of Italy is Rome.",
    "Mr Abernathy opened the door. Nobody had seen the old man in years, and yet here he was: Mr Abernathy",
]
# Modules about what is around the engine run it as those about itself do; its shapes are not checked there once more,
# which takes a third of the time.
AROUND = ("cli", "corpus", "findings", "pages", "rare", "readme", "selected", "series", "serving", "takehome")
HOME = pytest.StashKey[tempfile.TemporaryDirectory]()
SECTIONS = pytest.StashKey[dict[str, list[str]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SECTIONS] = {}
    config.stash[HOME] = keep_apart()
    # Processes at once share the cores: more threads than cores spin while they wait for each other. The first process
    # says so to the others, before they load torch, and they to those that tests start.
    share = (os.cpu_count() or 1) // int(config.getoption("numprocesses", None) or 1)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def keep_apart() -> tempfile.TemporaryDirectory:
    """A cache folder for this run, with the user's models in it and nothing else of theirs: no result is kept there."""
    from density.home import home

    own = tempfile.TemporaryDirectory(prefix="density-tests-")
    for name in ("models", "accepted"):
        (home() / name).mkdir(parents=True, exist_ok=True)
        (Path(own.name) / name).symlink_to(home() / name)
    os.environ["DENSITY_HOME"] = own.name
    return own


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[HOME].cleanup()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """One of several processes gives what it has for the summary to the one that prints it."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["sections"] = session.config.stash[SECTIONS]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes it."""
    for title, lines in getattr(node, "workeroutput", {}).get("sections", {}).items():
        node.config.stash[SECTIONS].setdefault(title, []).extend(lines)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for title, lines in config.stash[SECTIONS].items():
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="module", autouse=True)
def shapes_checked(request: pytest.FixtureRequest) -> None:
    """Switches the checks of shapes on, or off in a module about what is around the engine."""
    jaxtyping.config.update("jaxtyping_disable", any(part in request.module.__name__ for part in AROUND))


@pytest.fixture(scope="session")
def in_summary(pytestconfig: pytest.Config) -> Callable[[str, Iterable[str]], None]:
    """Puts lines, under a title, into what pytest prints at its end."""

    def add(title: str, lines: Iterable[str]) -> None:
        pytestconfig.stash[SECTIONS].setdefault(title, []).extend(lines)

    return add


@pytest.fixture(scope="session")
def smollm2(in_summary):
    """The default model, opened; fetched if it is not there. Where that cannot be, its tests are left out."""
    return opened("smollm2-135m", in_summary)


@pytest.fixture(scope="session")
def gemma3(in_summary):
    """The same of the second model; its terms, which forbid nothing done here, are accepted."""
    return opened("gemma3-270m", in_summary)


def opened(name, in_summary):
    """A model of the catalogue; a test that cannot have it is skipped, and the summary says why."""
    from density.models import DownloadFailed, fetch, open_model

    try:
        fetch(name, accept_terms=True)
        return open_model(name)
    except DownloadFailed as error:
        in_summary("left out", [f"every test on {name}: {error}"])
        pytest.skip(f"{name} cannot be fetched: {error}")


@pytest.fixture
def own_home(tmp_path, monkeypatch) -> Path:
    """A cache folder for this test alone, empty."""
    monkeypatch.setenv("DENSITY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def no_main(monkeypatch):
    """A page under test leaves its script as the main module, and a new process would run that."""
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))


@pytest.fixture
def forks(no_main, monkeypatch):
    """Starts processes of one thread, as `multiprocessing` does, from a server that has imported everything already."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    modules = ("density.corpus.command", "transformers.models.llama.modeling_llama", "tests.test_corpus")
    context.set_forkserver_preload([*modules, "tests.test_faults"])
    first = context.Process(target=time.sleep, args=(0,))
    first.start()
    first.join()
    return context


@pytest.fixture(scope="module")
def service():
    """What stands between pages and engine, for the tests of one module."""
    from density.serving.service import Service

    service = Service()
    yield service
    service.close()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """A folder as a user would name it: a tiny random Llama, and a byte-level tokenizer that reads any text."""
    from tests.tiny import LLAMA, tiny

    tokenizer = byte_level_tokenizer()
    folder = tmp_path_factory.mktemp("tiny") / "tiny-llama"
    tokenizer.save_pretrained(folder)
    tiny(LLAMA, vocab_size=len(tokenizer), max_position_embeddings=1024).model.save_pretrained(folder)
    return folder


def byte_level_tokenizer():
    """A byte-level BPE with the 256 bytes, one special token and a few merges; like GPT-2's, it adds nothing."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=317, initial_alphabet=alphabet, special_tokens=["<|end|>"], show_progress=False
    )
    tokenizer.train_from_iterator(EXAMPLE_TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|end|>", eos_token="<|end|>")
