"""GGUF to a folder of safetensors: in float32 exactly what its blocks say, and a tokenizer that opens fast.

`transformers` reads GGUF, but de-quantises and rebuilds the tokenizer each time, and passes over what it does
not know. Here this happens once, and what it would pass over is refused.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch
from tokenizers import pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedTokenizerFast
from transformers import modeling_gguf_pytorch_utils as gguf_reader

from density.errors import TooLarge, UnsupportedModel, first_line, shown
from density.families import family_for
from density.models.cache import folder_of, is_whole, kept, readable, sha256_of
from density.models.checkpoint import count_described, require_memory
from density.models.errors import DamagedModel
from density.models.gguf_header import GgufHeader, read_header
from density.models.progress import Progress, quiet, unreported
from density.models.tokenizer import panics_explained

# Bytes for each weight: in memory as read, as written and in the reader's tables (6 to 11 measured); on disk.
BYTES_IN_MEMORY, BYTES_ON_DISK = 10, 4
# Room on disk for tokenizers and documents, beside the weights.
SLACK_BYTES = 100_000_000
# Items of arrays for each token of the vocabulary (its text, type, score and merges: 3 to 5), and others.
ITEMS_A_TOKEN, SLACK_ITEMS = 10, 10_000
# Values of tokenizer.ggml.pre that split text as GPT-2 does, and those that set every digit apart first.
GPT2_SPLITS = frozenset({None, "default", "gpt-2", "phi-2", "olmo"})
DIGIT_SPLITS = frozenset({"smollm", "starcoder"})


def converted(path: Path, progress: Progress = unreported) -> Path:
    """The folder made from the GGUF file at ``path``; found again by its SHA-256, wherever the file lies.

    Raises:
        UnsupportedModel: No family for it, or not readable.
        DamagedModel: Cut short, or settings that contradict the weights.
        TooLarge: Not enough memory to convert it.
        CacheUnavailable: Disk full, or a cache folder that cannot be written to.
    """
    source = source_of(path)
    key = key_of(source)
    if is_whole(key, source):
        return folder_of(key)
    config = read_gguf_config(path)
    disk = BYTES_ON_DISK * count_described(config) + SLACK_BYTES

    def write(scratch: Path, target: Path) -> None:
        convert(path, config, scratch, target, progress)

    return kept(key, source, write, disk=disk, progress=progress)


def is_converted(path: Path) -> bool:
    """Whether the folder made from the GGUF file at ``path`` is there."""
    source = source_of(path)
    return is_whole(key_of(source), source)


def source_of(path: Path) -> str:
    """The SHA-256 of a GGUF file; one that could not be opened here for its size is not read to its end.

    Raises:
        DamagedModel: Not a GGUF file, or one that ends before its header or its weights do.
        TooLarge: This machine could not have converted it.
    """
    needed, there = BYTES_IN_MEMORY * read_header(path).elements, psutil.virtual_memory().total
    if needed > there:
        raise TooLarge(f"converting {path} needs {readable(needed)} of memory and this machine has {readable(there)}.")
    return sha256_of(path)


def key_of(source: str) -> str:
    """The key of the folder made from a GGUF file with that SHA-256."""
    return f"gguf-{source[:16]}"


def read_gguf_config(path: Path) -> PreTrainedConfig:
    """The config of the model in a GGUF file, after everything that would be passed over has been refused.

    Raises:
        UnsupportedModel: A model that no family reads, or a part of it that transformers does not read from GGUF.
        DamagedModel: A file that cannot be read, or whose settings contradict its weights.
    """
    header = read_header(path)
    _refuse_unread(path, header)
    try:
        with quiet():
            config = AutoConfig.from_pretrained(path.parent, gguf_file=str(path), local_files_only=True)
    except Exception as error:
        raise UnsupportedModel(
            f"{path} cannot be read as a model ({first_line(error)}). Use the model's safetensors version."
        ) from error
    # The tokenizer's, left there by the reader; no modelling code reads it.
    vars(config).pop("unk_token_id", None)
    family_for(config)
    described = count_described(config)
    if described != header.elements:
        raise DamagedModel(
            f"{path} holds {header.elements} weights, but its settings describe a {config.model_type} "
            f"model of {described}: some would be left out. Use the model's safetensors version."
        )
    return config


def _refuse_unread(path: Path, header: GgufHeader) -> None:
    architecture = header.settings.get("general.architecture")
    if not isinstance(architecture, str):
        raise DamagedModel(f"{path} names no architecture; download it again.")
    if header.settings.get("split.count", 1) != 1:
        raise UnsupportedModel(f"{path} is one part of several; join them (llama-gguf-split --merge) and open that.")
    layers = header.settings.get(f"{architecture}.block_count")
    if not isinstance(layers, int) or layers > len(header.shapes):
        raise DamagedModel(
            f"{path} asks for {shown(layers)} layers but has {len(header.shapes)} tensors; download it again."
        )
    rows = header.shapes.get("token_embd.weight", (0,))[0]
    if header.items > ITEMS_A_TOKEN * rows + SLACK_ITEMS:
        raise DamagedModel(f"{path} lists {header.items} items for a vocabulary of {rows} tokens; download it again.")
    scaling = header.settings.get(f"{architecture}.rope.scaling.type", "none")
    if scaling != "none" or "rope_freqs.weight" in header.shapes:
        raise UnsupportedModel(
            f"{path} stretches its rotary positions, which transformers does not read from GGUF. "
            "Use the model's safetensors version."
        )


def convert(path: Path, config: PreTrainedConfig, empty: Path, folder: Path, progress: Progress) -> None:
    """Writes the model in the GGUF file at ``path`` to ``folder``: config, float32 safetensors, tokenizer.

    Args:
        empty: A folder without config or tokenizer: where transformers looks for what else the model has.

    Raises:
        UnsupportedModel: A tokenizer that is not read.
        DamagedModel: Weights that are missing from the file, or cannot be read.
        TooLarge: Not enough memory.
    """
    header = read_header(path)
    require_memory(BYTES_IN_MEMORY * header.elements, "cpu", f"Converting {path.name}")
    tokenizer = read_tokenizer(path, header, empty)
    with quiet():
        model = _read_weights(path, config, empty, progress)
        # What marks the model as quantised; it no longer is, and would not save.
        del model.config.quantization_config
        model.hf_quantizer = None
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _read_weights(path: Path, config: PreTrainedConfig, empty: Path, progress: Progress) -> Any:
    """The model, in float32."""
    try:
        with _tensors_reported(progress, path.stat().st_size):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                empty,
                config=config,
                gguf_file=str(path.absolute()),
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (ValueError, TypeError, KeyError, IndexError, ArithmeticError, RuntimeError) as error:
        raise DamagedModel(f"the weights in {path} cannot be read ({first_line(error)}); download it again.") from error
    model, found = loaded
    if found["missing_keys"]:
        raise DamagedModel(f"{path} lacks {', '.join(sorted(found['missing_keys'])[:3])}; download it again.")
    return model


def read_tokenizer(path: Path, header: GgufHeader, empty: Path) -> PreTrainedTokenizerFast:
    """The tokenizer in a GGUF file, splitting text as the file says.

    Raises:
        UnsupportedModel: A way of splitting that transformers does not know, and would take for GPT-2's.
    """
    try:
        with panics_explained(str(path)):
            tokenizer = PreTrainedTokenizerFast.from_pretrained(
                empty, gguf_file=str(path.absolute()), local_files_only=True
            )
    except DamagedModel:
        raise
    except Exception as error:
        raise UnsupportedModel(
            f"the tokenizer in {path} cannot be read ({first_line(error)}). Use the model's safetensors version."
        ) from error
    split = header.settings.get("tokenizer.ggml.pre")
    if isinstance(tokenizer.backend_tokenizer.pre_tokenizer, pre_tokenizers.ByteLevel):
        if split in DIGIT_SPLITS:
            digits = pre_tokenizers.Digits(individual_digits=True)
            bytewise = pre_tokenizers.ByteLevel(add_prefix_space=False)
            tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, bytewise])
        elif split not in GPT2_SPLITS:
            raise UnsupportedModel(
                f"{path} splits text as {shown(split)}, which is not known here. Use the model's safetensors version."
            )
    return tokenizer


@contextmanager
def _tensors_reported(progress: Progress, size: int) -> Iterator[None]:
    """Has de-quantising report to ``progress``: transformers puts up a bar for it that has no switch."""

    def reported(tensors: Iterable[Any], **_: Any) -> Iterator[Any]:
        listed = list(tensors)
        for done, tensor in enumerate(listed):
            progress("convert", size * done // len(listed), size)
            yield tensor
        progress("convert", size, size)

    bar: Callable[..., Any] = gguf_reader.tqdm
    gguf_reader.tqdm = reported
    try:
        yield
    finally:
        gguf_reader.tqdm = bar
