"""Inputs made from other inputs, blindly: where there is no atheris, and in the ordinary tests."""

import json
import random
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

# What a value of JSON becomes.
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**53 + 1, 10**12, 10**400, 0.5, -0.0, 1e300, float("inf"), float("nan")),
    *("", "x", "\ud800", "\x00", "../..", "\u202e\n", "9" * 99, "x" * 300, [], {}, [[]], [0] * 300, {"": None}),
)


def mutated_json(data: bytes, rng: random.Random) -> bytes | None:
    """A JSON text with a few of its values changed, moved or left out; ``None`` for what is no JSON."""
    try:
        root = [json.loads(data)]
        for _ in range(1 + int(rng.expovariate(0.7))):
            change(root, rng)
        return json.dumps(root[0], separators=(",", ":")).encode()
    except (ValueError, RecursionError):
        # Not JSON, or nested too deeply.
        return None


def change(root: list[Any], rng: random.Random) -> None:
    """Changes a value somewhere in ``root``, which holds one; copies, for what is held twice would grow without end."""
    every = list(places(root))
    (holder, key), (other, place) = rng.choice(every), rng.choice(every)
    match rng.randrange(5):
        case 0 if holder is not root:
            del holder[key]
        case 1:
            holder[key] = deepcopy(other[place])
        case 2 if isinstance(holder, dict):
            holder[str(rng.choice(ODD))] = holder.pop(key)
        case 3 if isinstance(holder, list) and holder is not root:
            holder.insert(key, deepcopy(holder[key]))
        case _:
            holder[key] = deepcopy(rng.choice(ODD))


def places(holder: Any) -> Iterator[tuple[Any, Any]]:
    """Every value within, as what holds it and its key there."""
    for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
        yield holder, key
        if isinstance(holder[key], list | dict):
            yield from places(holder[key])


def mutated(pool: Sequence[bytes], words: Sequence[bytes], rng: random.Random) -> bytes:
    """One of ``pool`` after a few random changes; of JSON every other time to its values rather than its bytes."""
    chosen = rng.choice(pool)
    if rng.random() < 0.5 and (changed := mutated_json(chosen, rng)) is not None:
        return changed
    data = bytearray(chosen)
    for _ in range(1 + int(rng.expovariate(0.5))):
        start = rng.randint(0, len(data))
        length = min(int(rng.expovariate(0.2)), len(data) - start)
        match rng.randrange(6):
            case 0:
                data[start : start + length] = rng.randbytes(length)
            case 1:
                del data[start : start + length]
            case 2:
                data[start:start] = data[start : start + length] * rng.randint(1, 3)
            case 3 if words:
                data[start : start + length * rng.randint(0, 1)] = rng.choice(words)
            case 4:
                other = rng.choice(pool)
                place = rng.randint(0, len(other))
                data[start : start + length] = other[place : place + rng.randint(0, 64)]
            case _ if start < len(data):
                data[start] ^= 1 << rng.randrange(8)
    return bytes(data)
