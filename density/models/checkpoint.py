"""A folder of config, safetensors and tokenizer: examined before any weight is loaded, then loaded whole or not."""

import os
import shutil
import tempfile
import weakref
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig

from density.errors import TooLarge, UnsupportedModel, first_line, shown
from density.families import FAMILIES, family_for
from density.memory import free_bytes
from density.models.cache import home, readable, writing
from density.models.errors import DamagedModel
from density.models.folder import (
    CONFIG,
    DESCRIPTIONS,
    INDEX,
    WEIGHTS,
    read_json,
    require_believable,
    require_inside,
)
from density.models.progress import Progress, quiet

PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
# More than any model has; settings that ask for more fill the memory before they are compared to anything.
MOST_LAYERS, MOST_BUFFER_NUMBERS = 300, 10**9
LAYER_SETTINGS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
# A classifier's, which transformers counts up to before anything else; no decoder reads them.
CLASSIFIER_SETTINGS = ("num_labels", "_num_labels", "id2label", "label2id")
# How a model is run is chosen here. Among these a file could name code on a hub, to be fetched and run.
RUNNING_SETTINGS = ("attn_implementation", "experts_implementation")
# Where weights go that do not fit: on a GPU, in the memory, and on disk, read when their layer runs.
OFFLOAD = "offload"
# How much of what is free the weights may take then; the rest is for the run.
OFFLOAD_SHARE = 0.6


def read_config(folder: Path) -> PreTrainedConfig:
    """The folder's config, of a model that a family reads.

    Raises:
        UnsupportedModel: No family for it, or it needs Python code of its own.
        DamagedModel: No config, or one that no model can be built from; or a file beside it that is not read.
    """
    path = folder / CONFIG
    require_believable(folder)
    settings = read_json(path)
    model_type = settings.get("model_type")
    if not isinstance(model_type, str):
        raise DamagedModel(f"{path} names no model_type, so it cannot be told what model this is; download it again.")
    if "auto_map" in settings and model_type not in CONFIG_MAPPING:
        raise UnsupportedModel(
            f"the model in {folder} (model_type={shown(model_type)}) needs Python code of its own, which is "
            f"never run. Choose a model of a supported family: {', '.join(sorted(FAMILIES))}."
        )
    if model_type not in FAMILIES:
        family_for(PreTrainedConfig.from_dict({"model_type": model_type}))
    for layers in (settings.get(name) for name in LAYER_SETTINGS):
        if isinstance(layers, int) and layers > MOST_LAYERS:
            asked = f"{path} asks for {shown(layers)} layers"
            raise DamagedModel(f"{asked}; at most {MOST_LAYERS} are believed. Check the file.")
    passed_over = (*CLASSIFIER_SETTINGS, *RUNNING_SETTINGS)
    read = {name: value for name, value in settings.items() if name not in passed_over and not name.startswith("_")}
    try:
        with quiet():
            config = CONFIG_MAPPING[model_type].from_dict(read)
    except Exception as error:
        raise DamagedModel(
            f"{path} is not a valid {model_type} config ({first_line(error)}); download it again."
        ) from error
    family_for(config)
    return config


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files of the folder: one, or the shards its index names.

    Raises:
        UnsupportedModel: Weights as Python pickles only: opening them would run code.
        DamagedModel: No weights, or a shard missing.
    """
    if (folder / WEIGHTS).is_file():
        require_inside(folder / WEIGHTS, folder)
        return (folder / WEIGHTS,)
    if (folder / INDEX).is_file():
        return _shards(folder)
    pickles = sorted(path.name for pattern in PICKLED for path in folder.glob(pattern))
    if pickles:
        raise UnsupportedModel(
            f"{folder} holds its weights as Python pickles only ({pickles[0]}), and opening one can run "
            "any code. Choose a version in safetensors or GGUF, or convert it."
        )
    raise DamagedModel(f"{folder} has no weights: neither {WEIGHTS} nor {INDEX}. Download it again.")


def _shards(folder: Path) -> tuple[Path, ...]:
    names = read_json(folder / INDEX).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise DamagedModel(f"{folder / INDEX} has no weight_map from weights to files; download it again.")
    shards = tuple(folder / name for name in sorted(set(names.values())))
    for shard in shards:
        if shard.parent != folder or shard.name == ".." or not os.path.isfile(shard):
            raise DamagedModel(f"{folder} lacks {shown(shard.name)}, which {INDEX} names; download it again.")
        require_inside(shard, folder)
    return shards


def count_weights(files: tuple[Path, ...]) -> int:
    """Numbers in the weight files, from their headers.

    Raises:
        DamagedModel: A file that is cut short or is no safetensors.
    """
    total = 0
    for path in files:
        try:
            with safe_open(path, framework="pt") as weights:
                total += sum(prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
        except (SafetensorError, OSError, RuntimeError) as error:
            raise DamagedModel(f"{path} is damaged or cut short ({first_line(error)}); download it again.") from error
    return total


def count_described(config: PreTrainedConfig) -> int:
    """Numbers in the model that ``config`` describes, shared ones once; none of them is allocated.

    Raises:
        DamagedModel: Settings that no model can be built from.
    """
    try:
        with quiet(), torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        if (buffers := sum(buffer.numel() for buffer in model.buffers())) > MOST_BUFFER_NUMBERS:
            raise ValueError(f"tables of {buffers} numbers beside the weights")
    except Exception as error:
        raise DamagedModel(
            f"no {config.model_type} model has these settings ({first_line(error)}); check its {CONFIG}."
        ) from error
    return sum(weights.numel() for weights in model.parameters())


def all_files(folder: Path) -> list[Path]:
    """Every file of the folder that is read: what describes the model, and its weights."""
    return [*{path for pattern in DESCRIPTIONS for path in folder.glob(pattern)}, *weight_files(folder)]


def require_memory(needed: int, device: str, purpose: str) -> None:
    """Raises `TooLarge` if ``device`` has less than ``needed`` bytes free; there is always room to offload."""
    if device != OFFLOAD and needed > (free := free_bytes(device)):
        raise TooLarge(
            f"{purpose} needs {readable(needed)} of memory and {readable(free)} are free on {device}. Close other "
            f"programs, choose a smaller model or a lower precision, or the device {OFFLOAD!r}, which is slow."
        )


def load_weights(
    folder: Path, config: PreTrainedConfig, attention: str, device: str, dtype: torch.dtype, progress: Progress
) -> torch.nn.Module:
    """The model of ``folder`` in evaluation mode, without gradients: a `transformers.PreTrainedModel`.

    Its class is not imported to be named: that takes two seconds, before any model is asked for.

    On a CPU, weights that are stored in ``dtype`` are not copied: they stay mapped to the file, and are read
    when first used.

    Args:
        attention: Which of transformers' attention functions the model calls when it is run itself.
        device: ``"cuda"``, ``"mps"``, ``"cpu"``, or ``"offload"``: on a GPU, in memory and on disk, as it fits.

    Raises:
        UnsupportedModel: Weights as Python pickles only.
        DamagedModel: Weights missing, cut short, or not those the config describes.
        TooLarge: Not enough memory; found out before anything is loaded.
    """
    held, described = count_weights(weight_files(folder)), count_described(config)
    if described > held:
        raise DamagedModel(
            f"{folder / CONFIG} describes a {config.model_type} model of {described} weights, but the files "
            f"beside it hold {held}: they do not belong together. Download them again."
        )
    needed = held * dtype.itemsize
    require_memory(needed, device, f"Loading {folder.name}")
    progress("load", 0, needed)
    if device == OFFLOAD:
        model = _load_offloaded(folder, config, attention, dtype)
    else:
        model = _load(folder, config, attention, dtype)
        try:
            model = model.to(device)
        except torch.OutOfMemoryError as error:
            raise TooLarge(f"{folder.name} did not fit on {device}; choose a lower precision or the CPU.") from error
    progress("load", needed, needed)
    return model.eval().requires_grad_(False)


def _load_offloaded(folder: Path, config: PreTrainedConfig, attention: str, dtype: torch.dtype) -> torch.nn.Module:
    """The model as `accelerate` spreads it; weights that have to be written again for it go when the model goes."""
    places: dict[int | str, str] = {0: "cuda", "cpu": "cpu"} if torch.cuda.is_available() else {"cpu": "cpu"}
    budget = {place: int(OFFLOAD_SHARE * free_bytes(device)) for place, device in places.items()}
    with writing():
        home().mkdir(parents=True, exist_ok=True)
        store = tempfile.mkdtemp(prefix="offload-", dir=home())
        try:
            spread = {"device_map": "auto", "max_memory": budget, "offload_folder": store}
            model = _load(folder, config, attention, dtype, **spread)
        except BaseException:
            shutil.rmtree(store, ignore_errors=True)
            raise
    weakref.finalize(model, shutil.rmtree, store, ignore_errors=True)
    return model


def _load(folder: Path, config: PreTrainedConfig, attention: str, dtype: torch.dtype, **placement: Any) -> Any:
    """The model, after every weight has found its place and every place its weight; experts run one by one."""
    try:
        with quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                attn_implementation=attention,
                experts_implementation="eager",
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **placement,
            )
    except Exception as error:
        raise DamagedModel(
            f"the weights in {folder} cannot be loaded ({first_line(error)}); download them again."
        ) from error
    model, found = loaded
    for what in ("missing", "mismatched", "unexpected"):
        if names := sorted(key if isinstance(key, str) else key[0] for key in found[f"{what}_keys"]):
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise DamagedModel(
                f"the weights in {folder} are not those its {CONFIG} describes; "
                f"{what}: {', '.join(names[:3])}{more}. Download them again."
            )
    return model
