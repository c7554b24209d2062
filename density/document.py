"""A profile that comes from a file, checked to the last value before anything is made of it.

Whoever wrote it, what is returned has the keys, types and ranges of the schema ``density.profile/1`` and nothing else
but the page's ``view``, if it has one: how it was looked at when it was saved, as the parameters of a link.
Loads no engine.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from density.errors import BadInput, shown
from density.names import EXPLORE_SCHEMA, PRECISIONS, PROFILE_SCHEMA, RULES, TRACE_SCHEMA

# Other files that are saved here, which hold no profile.
OTHERS = {
    EXPLORE_SCHEMA: "one prediction's trace and circuit, for other programs to read",
    TRACE_SCHEMA: "traces of one prediction, as the command line's `trace` writes them",
}
MOST_BYTES = 5 * 2**20
# Lists and objects in all, however many tokens: reading more takes seconds. A profile of 4,096 has about half as many.
MOST_PARTS = 400_000
MOST_TOP, MOST_POINTS = 100, 200
DEVICES = ("cpu", "cuda", "mps", "offload")
SWEPT = {"curve", "auc_linear", "auc_log10"}
Check = Callable[[str, Any], Any]


def parse_profile(data: bytes) -> dict[str, Any]:
    """The profile in ``data``, with the keys of the schema alone.

    Raises:
        BadInput: It is none; the message names the first value that is not as it should be.
    """
    if len(data) > MOST_BYTES:
        raise BadInput(f"the file has {len(data) / 2**20:.0f} MiB and at most {MOST_BYTES / 2**20:.0f} are read.")
    if data.count(b"[") + data.count(b"{") > MOST_PARTS:
        raise BadInput("the file has more parts than any profile; open a JSON file that was exported here.")
    try:
        given = json.loads(data.decode("utf-8-sig"), parse_constant=refuse_constant)
    except UnicodeDecodeError:
        raise BadInput("the file is not UTF-8 text; open a JSON file that was exported here.") from None
    except RecursionError:
        raise BadInput("the file is nested too deeply; open a JSON file that was exported here.") from None
    except ValueError as error:
        raise BadInput(f"the file is not JSON ({error}); open one that was exported here.") from None
    if not isinstance(given, dict) or given.get("schema") != PROFILE_SCHEMA:
        schema = given.get("schema") if isinstance(given, dict) else given
        if isinstance(schema, str) and schema in OTHERS:
            raise BadInput(f"the file is {OTHERS[schema]}; what can be opened is the JSON of 'Table and files'.")
        raise BadInput(
            f"the file's schema is {shown(schema)}; wanted {PROFILE_SCHEMA!r}: the JSON of 'Table and files'."
        )
    document = PROFILE("", given)
    check_whole(document)
    return document


def refuse_constant(name: str) -> None:
    """NaN and the infinities are no JSON."""
    raise ValueError(f"{name} is no number")


def wrong(path: str, value: object, wanted: str) -> BadInput:
    """The error of a value that is not as it should be."""
    return BadInput(f"{path.lstrip('.') or 'the file'} is {shown(value)}; wanted {wanted}. Nothing was opened.")


def text(path: str, value: Any) -> str:
    """Any text that can be shown."""
    if not isinstance(value, str):
        raise wrong(path, value, "a text")
    if re.search("[\ud800-\udfff]", value):
        raise wrong(path, value, "a text without halves of surrogate pairs")
    return value


def number(low: float = -math.inf, high: float = math.inf) -> Check:
    """A finite number from ``low`` to ``high``."""
    wanted = "a number" if math.isinf(low) else f"a number of at least {low:g}"
    wanted += "" if math.isinf(high) else f" and at most {high:g}"

    def check(path: str, value: Any) -> float:
        if type(value) not in (int, float) or not (low <= value <= high) or abs(value) > 1e300:
            raise wrong(path, value, wanted)
        return value

    return check


def whole(low: int = 0, high: int = 2**53) -> Check:
    """A whole number from ``low`` to ``high``."""

    def check(path: str, value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise wrong(path, value, f"a whole number from {low} to {high}")
        return value

    return check


def one_of(*choices: str) -> Check:
    """One of a few words."""

    def check(path: str, value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise wrong(path, value, f"one of {', '.join(choices)}")
        return value

    return check


def or_none(inner: Check) -> Check:
    """Something or nothing."""
    return lambda path, value: None if value is None else inner(path, value)


def listed(inner: Check, least: int, most: int) -> Check:
    """A list of so many of the same."""

    def check(path: str, value: Any) -> list[Any]:
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise wrong(path, value, f"a list of {least} to {most}")
        return [inner(f"{path}[{index}]", one) for index, one in enumerate(value)]

    return check


def texts(path: str, value: Any) -> dict[str, str]:
    """An object of texts, whatever their keys."""
    if not isinstance(value, dict):
        raise wrong(path, value, "an object")
    return {text(path, name): text(f"{path}.{name}", inner) for name, inner in value.items()}


def keyed(fields: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """An object with these keys; others are left out."""

    def check(path: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise wrong(path, value, "an object")
        missing = [name for name in fields if name not in value]
        if missing:
            raise BadInput(f"{f'{path}.{missing[0]}'.lstrip('.')} is missing. Nothing was opened.")
        known = {**fields, **{name: inner for name, inner in (optional or {}).items() if name in value}}
        return {name: inner(f"{path}.{name}", value[name]) for name, inner in known.items()}

    return check


# Rounding may leave a share or an entropy a little outside.
SHARE, DISTANCE, NATS = number(0, 1), number(-1e-6, 1 + 1e-6), number(-1e-6)
TOKEN = keyed({"index": whole(), "id": whole(), "text": text})
TOP_TOKEN = keyed({"text": text, "id": whole(), "probability": number(0, 1 + 1e-6)})
POINT = keyed({"size": SHARE, "edges": whole(), "threshold": number(0), "total_variation": DISTANCE})
PREDICTION = keyed(
    {
        "position": whole(),
        "context_token": text,
        "next_token": or_none(text),
        "next_id": or_none(whole()),
        "surprisal": or_none(NATS),
        "entropy": NATS,
        "top_tokens": listed(TOP_TOKEN, 1, MOST_TOP),
        "edges_full": whole(1),
        "edges_trace": whole(),
        "density": SHARE,
        "threshold": number(0),
        "total_variation": DISTANCE,
        "below": or_none(keyed({"size": SHARE, "total_variation": DISTANCE})),
        "replays": whole(),
    },
    {"curve": listed(POINT, 1, MOST_POINTS), "auc_linear": DISTANCE, "auc_log10": DISTANCE},
)
PROFILE = keyed(
    {
        "schema": one_of(PROFILE_SCHEMA),
        "model": text,
        "revision": text,
        "rule": one_of(*RULES),
        "device": one_of(*DEVICES),
        "precision": one_of(*PRECISIONS),
        "seed": whole(),
        "versions": keyed({name: text for name in ("density", "torch", "transformers")}),
        "health": keyed({name: number(0) for name in ("full_replay_tv", "max_state_error", "max_logit_error")}),
        "text": text,
        "tokens": listed(TOKEN, 1, MOST_PARTS),
        "fidelity": number(1e-9, 1),
        "search": one_of("lattice", "sweep"),
        "predictions": listed(PREDICTION, 1, MOST_PARTS),
    },
    {"view": texts},
)


def check_whole(document: Mapping[str, Any]) -> None:
    """That the parts of a profile fit each other.

    Raises:
        BadInput: They do not.
    """
    tokens = document["tokens"]
    for index, token in enumerate(tokens):
        if token["index"] != index:
            raise wrong(f"tokens[{index}].index", token["index"], str(index))
    last = -1
    for index, found in enumerate(document["predictions"]):
        path, position = f"predictions[{index}]", found["position"]
        if not last < position < len(tokens):
            raise wrong(f"{path}.position", position, f"more than {last} and less than {len(tokens)}")
        last = position
        following = tokens[position + 1] if position + 1 < len(tokens) else {"text": None, "id": None}
        same = {"context_token": tokens[position]["text"], "next_token": following["text"], "next_id": following["id"]}
        for name, wanted in same.items():
            if found[name] != wanted:
                raise wrong(f"{path}.{name}", found[name], f"{shown(wanted)}, as the tokens have it")
        if found["edges_trace"] > found["edges_full"]:
            raise wrong(f"{path}.edges_trace", found["edges_trace"], f"at most {found['edges_full']}")
        swept = SWEPT & found.keys()
        if swept != SWEPT and (swept or document["search"] == "sweep"):
            raise BadInput(f"{path} has no curve or areas, and a sweep has. Nothing was opened.")
