"""Files and links made to do harm: refused with one sentence, quickly, and without the memory they ask for.

What a folder, a header or a link that is merely wrong is told is in the tests of its own module.
"""

import json
import os
import resource
import shutil
import struct
import time
from pathlib import Path

import pytest

from density import models
from density.corpus.sources import load_texts
from density.errors import BadInput, DensityError, TooLarge
from density.models import DamagedModel, UnknownModel
from density.models.checkpoint import read_config
from density.reading import read
from density.serving.question import MOST_LINK_CHARACTERS, from_link

# Generous: the machine may be busy. Each would take minutes, gigabytes or for ever if it were believed.
SECONDS, MEGABYTES = 60, 600


@pytest.fixture
def folder(tiny_folder, tmp_path, own_home):
    """A sound model's folder, to be changed."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def refusal(error, act, *arguments):
    """The message of ``act``'s refusal: one sentence, in time, in little memory."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(error) as raised:
        act(*arguments)
    assert time.monotonic() - began < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES * 1024
    message = str(raised.value)
    assert message.isprintable() and len(message) < 1500
    return message


def rewrite(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def sparse(path, size):
    """A file of that many bytes which takes no room."""
    with path.open("ab") as file:
        file.truncate(size)


# A model's folder


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "notes.json"])
def test_a_link_out_of_the_folder_is_not_followed(folder, tmp_path, name):
    outside = tmp_path / f"outside-{name}"
    if (folder / name).exists():
        shutil.move(folder / name, outside)
    else:
        outside.write_text("{}")
    (folder / name).symlink_to(outside)
    assert "leads out of its folder" in refusal(DamagedModel, models.open_model, str(folder))


def test_links_within_the_folder_or_the_hubs_cache_are_followed(folder, tmp_path):
    shutil.move(folder / "config.json", folder / "config-1.json")
    (folder / "config.json").symlink_to("config-1.json")
    assert read_config(folder).model_type == "llama"
    cache = tmp_path / "models--org--tiny"
    (cache / "snapshots").mkdir(parents=True)
    shutil.move(folder, cache / "snapshots" / "0123")
    snapshot = cache / "snapshots" / "0123"
    (cache / "blobs").mkdir()
    shutil.move(snapshot / "config-1.json", cache / "blobs" / "abc")
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    assert read_config(snapshot).model_type == "llama"


def test_a_folder_reached_by_a_link_is_read(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert read_config(tmp_path / "link").model_type == "llama"


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_pipe_is_not_waited_for(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert f"{name} is no file" in refusal(DamagedModel, models.open_model, str(folder))


def test_a_device_that_never_ends_is_not_read(folder):
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/dev/zero")
    assert "leads out of its folder, to /dev/zero" in refusal(DamagedModel, models.open_model, str(folder))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "generation_config.json", "chat_template.jinja"])
def test_a_description_too_large_to_be_one_is_not_opened(folder, name):
    sparse(folder / name, 2**36)
    assert "has 68719476736 bytes, and no such file of a model has over" in refusal(
        DamagedModel, models.open_model, str(folder)
    )


@pytest.mark.parametrize("family", ["mixtral", "qwen2_moe", "olmoe"])
def test_experts_without_number_are_not_built(tmp_path, family):
    import transformers

    from tests.tiny import CASES

    case = next(case for case in CASES if case.family == family)
    experts = "num_local_experts" if family == "mixtral" else "num_experts"
    settings = {"model_type": family, **case.arguments, experts: 10**12}
    assert hasattr(transformers, case.config)
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    refusal(DensityError, models.open_model, str(tmp_path))


def test_weights_of_a_terabyte_are_refused_before_they_are_read(folder):
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}}).encode()
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    sparse(path, 8 + len(header) + 2**40)
    refusal(DensityError, models.open_model, str(folder))


def test_no_setting_of_a_config_names_code_to_fetch(folder, monkeypatch):
    import socket

    def asked(*arguments, **_):
        raise AssertionError(f"asked for {arguments}")

    monkeypatch.setattr(socket.socket, "connect", asked)
    monkeypatch.setattr(socket, "getaddrinfo", asked)
    kernel = "kernels-community/flash-attn"
    names = ("attn_implementation", "experts_implementation")
    rewrite(folder / "config.json", **{f"{before}{name}": kernel for before in ("", "_") for name in names})
    rewrite(folder / "config.json", _attn_implementation_internal=kernel)
    assert models.open_model(str(folder)).decoder.model.config._attn_implementation == "sdpa"


def test_a_tokenizers_settings_name_no_file_elsewhere(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere.json"
    shutil.copy(folder / "tokenizer.json", elsewhere)
    rewrite(elsewhere, model={"type": "WordLevel", "unk_token": "x", "vocab": {"x": 0}})
    rewrite(folder / "tokenizer_config.json", tokenizer_file=str(elsewhere), vocab_file=str(elsewhere))
    assert len(models.open_model(str(folder)).tokenizer) > 256


# A tokenizer

DOUBLE = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
BACKTRACK = {"type": "Split", "pattern": {"Regex": "(a|aa)+$"}, "behavior": "Isolated", "invert": False}
PREFIX = {"id": "<|end|>", "ids": [0] * 10_000, "tokens": ["<|end|>"] * 10_000}
TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}}] * 1000,
    "pair": [],
    "special_tokens": {"<|end|>": PREFIX},
}
BOMBS = {
    "a letter doubled forty times": {"normalizer": {"type": "Sequence", "normalizers": [DOUBLE] * 40}},
    "a letter made long": {"normalizer": {**DOUBLE, "content": "a" * 10_000}},
    "a prefix without end": {"normalizer": {"type": "Prepend", "prepend": "a" * 10_000}},
    "ten million special tokens": {"post_processor": TEMPLATE},
    "a decoder that doubles": {"decoder": {"type": "Sequence", "decoders": [DOUBLE] * 40}},
    "steps without number": {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}] * 1000}},
    "nested without end": {"normalizer": json.loads('{"type":"Sequence","normalizers":[' * 90 + "]}" * 90)},
    "a map of characters that is none": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
}


@pytest.mark.parametrize("parts", BOMBS.values(), ids=BOMBS)
def test_a_tokenizer_that_would_make_a_text_endless_is_refused(folder, parts):
    rewrite(folder / "tokenizer.json", **parts)
    assert "tokenizer" in refusal(DamagedModel, models.open_model, str(folder))


def test_a_token_of_a_million_characters_is_refused(folder):
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"]["x" * 10**6] = len(content["model"]["vocab"])
    (folder / "tokenizer.json").write_text(json.dumps(content))
    assert "has a token of 1000000 characters" in refusal(DamagedModel, models.open_model, str(folder))


def test_padding_and_cutting_that_a_file_asks_for_are_not_done(folder):
    fixed = {"strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0}
    fixed |= {"pad_type_id": 0, "pad_token": "<|end|>"}
    cut = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}
    rewrite(folder / "tokenizer.json", padding=fixed, truncation=cut)
    assert len(models.open_model(str(folder)).tokenizer("a b c")["input_ids"]) == 5


@pytest.mark.parametrize(
    "parts",
    [{"pre_tokenizer": BACKTRACK}, {"decoder": {"type": "Strip", "content": "a", "start": 5, "stop": 5}}],
    ids=["a pattern that backtracks", "a decoder that counts wrong"],
)
def test_a_tokenizers_panic_is_an_error_like_any_other(folder, parts):
    rewrite(folder / "tokenizer.json", **parts)
    model = models.open_model(str(folder))
    assert "does not work on this text" in refusal(DamagedModel, read, model, "a" * 400 + "!")


# GGUF


def gguf(path, *settings, tensors=b"", table=0, size=None):
    counts = struct.pack("<IQQ", 3, table, len(settings))
    path.write_bytes(b"GGUF" + counts + b"".join(settings) + tensors + bytes(64))
    if size is not None:
        sparse(path, size)
    return path


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def array(name, kind, count, content):
    return text(name) + struct.pack("<IIQ", 9, kind, count) + content


LLAMA = [text("general.architecture") + struct.pack("<I", 8) + text("llama")]
LLAMA.append(text("llama.block_count") + struct.pack("<II", 4, 1))
WIDE = text("token_embd.weight") + struct.pack("<IQQIQ", 2, 4, 2, 0, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"settings": [array("a", 4, 3_000_000, bytes(12_000_000))]}, "3000000 items in arrays"),
        ({"settings": [array("a", 8, 10**9, b"")]}, "1000000000 items are beyond the end"),
        ({"settings": [*LLAMA, array("a", 4, 900_000, bytes(3_600_000))], "tensors": WIDE, "table": 1}, "900000 items"),
        ({"settings": [text("a") + struct.pack("<IB", 0, 1)] * 2}, "two settings of one name"),
        ({"settings": [], "tensors": WIDE * 2, "table": 2}, "two tensors of one name"),
        ({"settings": [text("general.alignment") + struct.pack("<Ii", 5, -32)]}, "an alignment of -32"),
        ({"settings": LLAMA, "size": 2**42}, "has 4398046511104 bytes, of which its header knows"),
        ({"settings": [text("x" * 10**6) + struct.pack("<I", 99)]}, "cannot be read"),
    ],
)
def test_a_gguf_header_that_asks_for_memory_is_refused(tmp_path, own_home, content, message):
    path = gguf(tmp_path / "bomb.gguf", *content.pop("settings"), **content)
    assert message in refusal(DamagedModel, models.open_model, str(path))


def test_a_gguf_of_a_terabyte_is_refused_before_it_is_read(tmp_path, own_home):
    tensor = text("a") + struct.pack("<IQIQ", 1, 2**38, 0, 0)
    path = gguf(tmp_path / "vast.gguf", *LLAMA, tensors=tensor, table=1, size=2**40 + 4096)
    assert "of memory and this machine has" in refusal(TooLarge, models.open_model, str(path))


# Names, links and texts


def test_a_name_of_a_megabyte_is_refused():
    assert "a name of 1000000 characters is no model" in refusal(UnknownModel, models.open_model, "x" * 10**6)


@pytest.mark.parametrize("name", ["text", "model", "rule", "positions", "fidelity", "search", "kept"])
def test_a_link_of_a_megabyte_is_passed_over_with_a_sentence(name):
    began = time.monotonic()
    found, complaints = from_link({name: "9" * 2**20, "unknown": "x" * 2**20}, lambda key: pytest.fail("was asked"))
    assert found == {} and time.monotonic() - began < 1
    assert complaints[0] == (
        f"The link's {name} has 1048576 characters and at most {MOST_LINK_CHARACTERS} are read; it was passed over."
    )


def test_a_span_that_no_text_has_is_passed_over():
    found, complaints = from_link({"positions": "5..999999"})
    assert found == {} and "'5..999999' is not one of" in complaints[0]


def test_a_corpus_that_unpacks_to_more_than_it_may_is_refused(tmp_path, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    import density.corpus.sources as sources

    monkeypatch.setattr(sources, "MOST_BYTES", 10**7)
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"text": pa.array(["x" * 10**5] * 1000)}), path, compression="zstd")
    assert path.stat().st_size < 10**5
    assert "unpacks to more than 0.01 GB" in refusal(BadInput, load_texts, str(path))
    monkeypatch.setattr(sources, "MOST_TEXTS", 999)
    pq.write_table(pa.table({"text": pa.array(["x"] * 10**6)}), path, compression="zstd")
    (tmp_path / "many.txt").write_text("x\n" * 1000)
    for name in ("bomb.parquet", "many.txt"):
        assert f"{name} holds more than 999 texts" in refusal(BadInput, load_texts, str(tmp_path / name))
    sparse(tmp_path / "vast.txt", 10**12)
    assert "has over 0.01 GB" in refusal(BadInput, load_texts, str(tmp_path / "vast.txt"))
    os.mkfifo(tmp_path / "pipe.txt")
    assert "is no file" in refusal(BadInput, load_texts, str(tmp_path / "pipe.txt"))


def test_a_link_to_a_folder_that_is_no_dataset_has_it_searched_by_nobody(tmp_path):
    from density.corpus.dataset import MANIFEST, PENDING
    from pages.parts.datasets import fingerprint

    for folder in ("", PENDING, "below"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "a.parquet").write_bytes(b"abc")
    assert fingerprint(tmp_path) == fingerprint(Path("/")) == ()
    (tmp_path / MANIFEST).write_text("{}")
    assert fingerprint(tmp_path) == (("a.parquet", 3), ("a.parquet", 3))


def test_lines_nested_without_end_are_refused(tmp_path):
    (tmp_path / "deep.jsonl").write_text("[" * 100_000)
    assert "line 1 is not JSON" in refusal(BadInput, load_texts, str(tmp_path / "deep.jsonl"))


def test_a_profile_of_long_tokens_is_tinted_in_one_pass():
    from density.measures import units

    began = time.monotonic()
    (unit,) = units(["word " * 40] * 4096, "sentence")
    assert len(unit) == 4096 and time.monotonic() - began < 10


# What is shown

MARK = "![x](http://elsewhere.example/p.png) <b>:red[y]</b> $z$"
# Fields that Streamlit reads as Markdown; others are text or data.
MARKDOWN = {"body", "label", "help", "placeholder", "tooltip"}


def markdown_of(message):
    """Every text of a page's element that is read as Markdown."""
    for field, value in message.ListFields():
        many = value if field.is_repeated else [value]
        for one in many:
            if field.message_type is not None and not field.message_type.GetOptions().map_entry:
                yield from markdown_of(one)
            elif isinstance(one, str) and field.name in MARKDOWN:
                yield one


def elements(block):
    """Every element of a page, as what is sent to the browser; plain text and code are shown as they are."""
    for child in block.children.values():
        if hasattr(child, "children"):
            yield from elements(child)
        elif getattr(child, "type", "") not in ("text", "code"):
            yield getattr(child, "proto", None)


def shown_as_markdown(app):
    protos = [proto for proto in (*elements(app.main), *elements(app.sidebar)) if hasattr(proto, "ListFields")]
    return [text for proto in protos for text in markdown_of(proto)]


def test_nothing_of_a_hostile_profile_is_markdown(own_home):
    from streamlit.testing.v1 import AppTest

    from density.document import parse_profile
    from density.store import PROFILE, Store

    document = json.loads((Path(__file__).parents[1] / "assets" / "method" / "profile.json").read_text())
    for token in document["tokens"]:
        token["text"] = MARK
    for prediction in document["predictions"]:
        prediction["context_token"] = MARK
        prediction["next_token"] = prediction["next_token"] and MARK
        for top in prediction["top_tokens"]:
            top["text"] = MARK
    document |= {"model": MARK, "revision": MARK, "text": MARK, "versions": dict.fromkeys(document["versions"], MARK)}
    root = Path(__file__).parents[1]
    app = AppTest.from_file(str(root / "app.py"), default_timeout=300).run()
    while any("starting" in caption.value for caption in app.caption):
        app.run()
    app.file_uploader[0].upload(
        f"{MARK.replace('/', '_')}.json", json.dumps(document).encode(), "application/json"
    ).run()
    app.session_state.chosen = 1
    app.run()
    assert not app.exception and app.session_state.asked.model == MARK
    texts = shown_as_markdown(app)
    names = ("model", "revision", "text", "rule", "precision", "device", "versions", "fidelity", "search")
    about = {**{name: document[name] for name in names}, "positions": MARK}
    Store().put(PROFILE, about, parse_profile(json.dumps(document).encode()))
    history = AppTest.from_file(str(root / "pages" / "history.py"), default_timeout=300).run()
    assert not history.exception
    texts += shown_as_markdown(history)
    assert any("elsewhere" in text for text in texts)
    for text in texts:
        for harm in ("](http", "<b>", ":red[", "$z$"):
            assert harm not in text, text
