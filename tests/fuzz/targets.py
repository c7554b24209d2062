"""What is fuzzed: each target takes bytes, and may only return or raise a `DensityError` of one short sentence.

Whatever else a target raises is a fault. What is accepted is used as the program would use it, so that an input that
gets through and breaks what follows is found too.
"""

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import parse_qsl

from density.errors import DensityError

FOUND = Path(__file__).parent / "found"
ASSETS = Path(__file__).parents[2] / "assets"
# A message is a sentence for a page: on one line, and no longer than its longest honest one.
MOST_MESSAGE = 1500


@dataclass(frozen=True)
class Target:
    """One parser.

    Attributes:
        parse: Reads an input and uses what it is given back.
        seeds: Inputs to begin with: some that are accepted, so that mutations of them get far.
        words: What mutations put in.
        most: Bytes of an input.
    """

    parse: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    words: tuple[str, ...] = ()
    most: int = 4096

    def accepts(self, data: bytes) -> bool:
        """Whether ``data`` was accepted; raises only for a fault."""
        try:
            self.parse(data)
        except DensityError as error:
            message = str(error)
            assert 0 < len(message) <= MOST_MESSAGE, f"a message of {len(message)} characters"
            assert message.isprintable(), f"a message that is no line of text: {message!r}"
            return False
        return True


@cache
def scratch() -> Path:
    """A folder of this process's own, in memory where there is such a place."""
    shared = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="density-fuzz-", dir=shared if os.access(shared, os.W_OK) else None))


def file(name: str, data: bytes) -> Path:
    """A file with that content, instead of the one before it."""
    path = scratch() / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


# Models


def parse_gguf(data: bytes) -> None:
    from density.models.gguf_header import read_header

    header = read_header(file("fuzzed.gguf", data))
    assert header.elements >= 0
    assert sum(map(len, header.shapes)) <= len(data)


def gguf_seeds() -> list[bytes]:
    import gguf
    import numpy as np

    path = scratch() / "seed.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("seed")
    writer.add_block_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_bool("general.flag", True)
    writer.add_token_list(["a", "b"])
    writer.add_token_types([1, 3])
    writer.add_tensor("token_embd.weight", np.ones((2, 4), np.float32))
    writer.add_tensor("blk.0.ffn_up.weight", np.ones((1, 32), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return [path.read_bytes(), path.read_bytes()[:200], b"GGUF\x03\0\0\0" + bytes(16)]


def parse_safetensors(data: bytes) -> None:
    from density.models.checkpoint import count_weights

    assert 0 <= count_weights((file("fuzzed.safetensors", data),)) <= len(data)


def safetensors_seeds() -> list[bytes]:
    import torch
    from safetensors.torch import save

    return [
        save({"a": torch.ones(2, 3), "b": torch.ones(5, dtype=torch.bfloat16)}, {"format": "pt"}),
        save({"scalar": torch.tensor(1.0), "empty": torch.ones(0, 7)}),
        b"\2\0\0\0\0\0\0\0{}",
    ]


def parse_index(data: bytes) -> None:
    from density.models.checkpoint import INDEX, weight_files

    folder = file(f"index/{INDEX}", data).parent
    file("index/a.safetensors", b"")
    assert all(path.parent == folder for path in weight_files(folder))


def parse_config(data: bytes) -> None:
    from density.families import FAMILIES, family_for
    from density.models.checkpoint import count_described, read_config

    config = read_config(file("config/config.json", data).parent)
    assert config.model_type in FAMILIES
    assert family_for(config).name == config.model_type
    assert count_described(config) >= 0


def config_seeds() -> list[bytes]:
    import transformers

    from tests.tiny import CASES

    made = []
    for case in CASES:
        config = getattr(transformers, case.config)(**case.arguments)
        made.append(json.dumps({"model_type": config.model_type, **case.arguments}).encode())
    return made


def parse_tokenizer(data: bytes) -> None:
    from transformers import PreTrainedTokenizerFast

    from density.models.tokenizer import unread_explained, used_safely

    path = file("tokenizer/tokenizer.json", data)
    with unread_explained(path.parent):
        loaded = PreTrainedTokenizerFast(tokenizer_file=str(path))
    tokenizer = used_safely(loaded, str(path.parent))
    ids = tokenizer("The cat's 19 hats;\n  ça va?")["input_ids"]
    assert len(ids) < 100_000
    assert isinstance(tokenizer.decode(ids), str)


def tokenizer_seeds() -> list[bytes]:
    def tokenizer(model: Mapping[str, object], **parts: object) -> bytes:
        names = ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")
        empty = {"version": "1.0", "added_tokens": [], **dict.fromkeys(names)}
        return json.dumps({**empty, **parts, "model": model}).encode()

    vocab = {"a": 0, "t": 1, "h": 2, "th": 3, "<s>": 4}
    bpe = {"type": "BPE", "unk_token": "<s>", "vocab": vocab, "merges": [["t", "h"]], "byte_fallback": False}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "_"}
    split = {"type": "Split", "pattern": {"Regex": r"\p{L}+|\s"}, "behavior": "Isolated", "invert": False}
    digits = {"type": "Digits", "individual_digits": True}
    bytewise = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    fixed = {"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0}
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [4], "tokens": ["<s>"]}},
    }
    special = {"id": 4, "content": "<s>", "special": True, "normalized": False}
    special |= {"single_word": False, "lstrip": False, "rstrip": False}
    return [
        tokenizer(bpe, pre_tokenizer=bytewise, decoder=bytewise, added_tokens=[special]),
        tokenizer(
            bpe,
            normalizer={"type": "Sequence", "normalizers": [replace, {"type": "NFC"}]},
            pre_tokenizer={"type": "Sequence", "pretokenizers": [digits, split]},
            decoder={
                "type": "Sequence",
                "decoders": [replace, {"type": "Strip", "content": " ", "start": 1, "stop": 0}],
            },
            post_processor=template,
        ),
        tokenizer(bpe, padding={**fixed, "pad_token": "a"}, truncation=None),
        tokenizer({"type": "Unigram", "unk_id": 0, "vocab": [["a", -1.0], ["th", -2.0]], "byte_fallback": False}),
        tokenizer({"type": "WordLevel", "unk_token": "<s>", "vocab": vocab}, pre_tokenizer={"type": "Whitespace"}),
        tokenizer(bpe, normalizer={"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAABhAGI="}),
    ]


def parse_name(data: bytes) -> None:
    from density.models.loading import HubModel, meaning

    found = meaning(data.decode(errors="surrogateescape"))
    if isinstance(found, HubModel):
        assert found.repository.count("/") == 1 and ".." not in found.repository


# What was saved, and what is in a link


def parse_document(data: bytes) -> None:
    from density.document import parse_profile
    from density.measures import MEASURES, tinted
    from density.serving.question import from_link, to_link
    from density.view import table_csv
    from pages.parts.reopening import question_of

    document = parse_profile(data)
    assert parse_profile(json.dumps(document).encode()) == document
    for measure in MEASURES:
        tinted(document, measure=measure, unit="sentence")
    table_csv(document)
    found, complaints = from_link(to_link(question_of(document)))
    assert found["model"] == document["model"] or complaints or not document["model"].strip()


def document_seeds() -> list[bytes]:
    whole = json.loads((ASSETS / "method" / "profile.json").read_text())
    short = {**whole, "predictions": [{**whole["predictions"][-1], "curve": whole["predictions"][-1]["curve"][:2]}]}
    no_sweep = {**short, "search": "lattice"}
    return [json.dumps(document, separators=(",", ":")).encode() for document in (short, no_sweep)]


def parse_link(data: bytes) -> None:
    from density.limits import limits
    from density.names import RULES
    from density.serving.question import FIDELITY_RANGE, POSITIONS, Question, from_link, span, to_link

    parameters = dict(parse_qsl(data.decode(errors="replace"), keep_blank_values=True, errors="replace"))
    found, complaints = from_link(parameters, lambda key: "a kept text" if key == "kept" else None)
    for complaint in complaints:
        assert 0 < len(complaint) <= MOST_MESSAGE and complaint.isprintable(), complaint
    assert found.keys() <= {"text", "model", "rule", "positions", "sweep", "fidelity", "max_tokens"}
    assert 1 <= found.get("max_tokens", 1) <= limits().tokens
    assert found.get("rule", "l1") in RULES
    low, high = FIDELITY_RANGE
    assert low <= found.get("fidelity", low) <= high
    ends = span(str(found.get("positions", "all")))
    assert found.get("positions", "all") in POSITIONS or (ends and 0 <= ends[0] <= ends[1] < limits().tokens)
    for name in ("text", "model"):
        str(found.get(name, "")).encode()
    asked = Question(**found)
    assert from_link(to_link(asked), lambda key: asked.text)[1] == []


def link_seeds() -> list[bytes]:
    return [
        b"text=The+capital&model=smollm2-135m&fidelity=0.80&rule=l1&positions=all&search=lattice&token=3",
        b"kept=kept&model=org%2Fname%40main&fidelity=.9&rule=ifr&positions=3..9&search=sweep&max_tokens=700",
        b"text=%F0%9F%9A%80%0A%ED%A0%80&positions=last%3A16&fidelity=nan&token=-1",
    ]


def parse_view(data: bytes) -> None:
    from unittest.mock import patch

    from pages.parts import viewing

    def restored(given: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
        with patch.object(viewing.st, "session_state", SessionState()):
            return viewing.restore(given, "model", "text"), viewing.parameters()

    given = dict(parse_qsl(data.decode(errors="replace"), keep_blank_values=True, errors="replace"))
    complaints, shown = restored(given)
    for complaint in complaints:
        assert 0 < len(complaint) <= MOST_MESSAGE and complaint.isprintable(), complaint
    assert restored(shown) == ([], shown)


class SessionState(dict):
    """A session's state as Streamlit's: keys are attributes too."""

    __getattr__, __setattr__ = dict.__getitem__, dict.__setitem__


def view_seeds() -> list[bytes]:
    return [
        b"token=3&tint=entropy&unit=word&view=Likeliest+tokens&axis=linear&size=0.0316&switch-base=full+model",
        b'switches=[[3,"head",7,null,4,null,false],[0,null,null,5,null,null,true]]&size=0&circuit-most=50',
        b'picked=["head",1,0,3,2,5,4]&heads-by=importance&token=99999',
        b"picked=[4,7]&switches=[[0,0,0,0,0,0,0]]&size=nan&token=-1&tint=none",
    ]


# Corpora

SUFFIXES = (".txt", ".tsv", ".csv", ".jsonl", ".parquet")


def parse_texts(data: bytes) -> None:
    from density.corpus.sources import digest, load_texts

    suffix, column = SUFFIXES[data[0] % 5 if data else 0], (None, "text", "id")[data[0] // 5 % 3 if data else 0]
    texts = load_texts(str(file(f"fuzzed{suffix}", data[1:])), column=column)
    assert texts and len({text.id for text in texts}) == len(texts)
    digest(texts)


def text_seeds() -> list[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": ["a", "b"], "text": ["one text", "two"], "n": [1, 2]}), sink, compression="zstd")
    return [
        b"\0one text\r\n\ntwo texts\n",
        b"\1id\ttext\nx\tone\ny\ttwo\n",
        b'\2text,id\n"one, ""text""",1\ntwo,2\n',
        b'\3{"text": "one", "id": 1, "theme": null}\n{"context": "two", "id": [2]}\n',
        b"\4" + sink.getvalue().to_pybytes(),
    ]


def parse_manifest(data: bytes) -> None:
    from density.corpus.dataset import MANIFEST, Opened, load_manifest, read_manifest

    folder = file(f"dataset/{MANIFEST}", data).parent
    settings = {name: value for name, value in load_manifest(folder).items() if name != "opened"}
    opened = read_manifest(folder, settings)
    assert all(isinstance(one, Opened) for one in opened.values())


def manifest_seeds() -> list[bytes]:
    opened = {"revision": "0" * 40, "family": "llama", "device": "cpu", "precision": "float32"}
    document = {"schema": "density.corpus/2", "models": ["tiny"], "texts": 2, "opened": {"tiny": opened}}
    return [json.dumps(document).encode(), json.dumps({**document, "schema": "density.corpus/3"}).encode()]


NUMBERS = ("0", "-1", "1e999", "NaN", "true", "null", "9223372036854775808", "1000000000000", '"x"', "[]", "{}", "[[[[")
ESCAPES = (r"\ud800", r"\u0000", r"\u202e", "\n", "\x00", "../", "%00", "\ufeff")
TARGETS: dict[str, Target] = {
    "gguf": Target(parse_gguf, gguf_seeds, ("GGUF", "general.alignment", "general.architecture", "\xff" * 8)),
    "safetensors": Target(
        parse_safetensors, safetensors_seeds, (*NUMBERS, "data_offsets", "shape", "dtype", "F32", "__metadata__")
    ),
    "index": Target(
        parse_index,
        lambda: [b'{"weight_map": {"w": "a.safetensors"}}', b'{"metadata": {}, "weight_map": {"w": "../a"}}'],
        (*NUMBERS, *ESCAPES, "weight_map", ".."),
    ),
    "config": Target(
        parse_config,
        config_seeds,
        (
            *NUMBERS,
            "num_hidden_layers",
            "head_dim",
            "layer_types",
            "rope_parameters",
            "attn_implementation",
            "auto_map",
        ),
    ),
    "tokenizer": Target(
        parse_tokenizer, tokenizer_seeds, (*NUMBERS, *ESCAPES, '"Sequence"', '"Regex"', "(a+)+$", '"ByteFallback"')
    ),
    "name": Target(
        parse_name,
        lambda: [b"smollm2-135m", b"org/name@main", b"../../etc/passwd", b"~/model", b"a.gguf"],
        (*ESCAPES, "@", "~", "\\", ".gguf", "https://"),
        most=2048,
    ),
    "document": Target(parse_document, document_seeds, (*NUMBERS, *ESCAPES), most=8192),
    "link": Target(parse_link, link_seeds, (*ESCAPES, "text=", "kept=", "positions=", "%ED%A0%80", "&", "..", "_")),
    "view": Target(
        parse_view,
        view_seeds,
        (*NUMBERS, *ESCAPES, "switches=", "picked=", "size=", "token=", "&", '"head"', "\u00b2", "\u0663"),
    ),
    "texts": Target(parse_texts, text_seeds, (*NUMBERS, *ESCAPES, "PAR1", '"', "\t", "text")),
    "manifest": Target(parse_manifest, manifest_seeds, (*NUMBERS, *ESCAPES, '"opened"', '"schema"')),
}


def found(name: str) -> list[Path]:
    """The inputs that a target once failed on."""
    return sorted(path for path in (FOUND / name).glob("*") if path.is_file())
