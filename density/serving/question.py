"""What somebody asks of a text, in plain values, and as the query string of a link; loads no engine."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from density.errors import shown
from density.limits import limits
from density.names import RULES
from density.store import text_key

# What the pages offer; a link with other values is told so.
DEFAULT_MODEL = "smollm2-135m"
POSITIONS = {"all": "all", "last:16": "last 16", "last": "last"}
SEARCHES = {"lattice": "search", "sweep": "full sweep"}
FIDELITY_RANGE = (0.5, 0.99)
# A longer text is in links by its key in the store alone; what is longer still is in no link that was made here.
LINK_CHARACTERS, MOST_LINK_CHARACTERS = 1500, 2**16
NOT_KEPT = "The link's text is long, and is not kept on this machine; paste it here."
PARAMETERS = ("text", "kept", "model", "fidelity", "rule", "positions", "search", "max_tokens")
SPAN = re.compile(r"(\d{1,6})\.\.(\d{1,6})")


@dataclass(frozen=True, slots=True)
class Question:
    """A profile somebody asks for; equal questions have equal answers.

    Attributes:
        model: As `density.models.open_model` takes it.
        text: To be read.
        fidelity: To be reached, in (0, 1].
        rule: Importance rule.
        positions: As `density.profile.parse_positions` takes them.
        sweep: Measure the whole grid of sizes, for the curve and the areas under it, instead of searching.
        precision: Of the weights.
        device: Where; ``auto`` for the best there is.
        max_tokens: Longest text taken.
        accept_terms: Whether the model's terms are accepted, should it have to be fetched.
    """

    model: str = DEFAULT_MODEL
    text: str = ""
    fidelity: float = 0.8
    rule: str = "l1"
    positions: str = "all"
    sweep: bool = False
    precision: str = "float32"
    device: str = "auto"
    max_tokens: int = field(default=512, compare=False)
    accept_terms: bool = field(default=False, compare=False)


def to_link(question: Question) -> dict[str, str]:
    """The query parameters that bring a question back; a long text by its key, which is found where it was measured."""
    text = {}
    if question.text.strip():
        key = link_key(question.text)
        text = {"text": question.text} if key is None else {"kept": key}
    usual = question.max_tokens == Question().max_tokens
    return {
        **text,
        "model": question.model,
        "fidelity": f"{question.fidelity:.2f}",
        "rule": question.rule,
        "positions": question.positions,
        "search": "sweep" if question.sweep else "lattice",
        **({} if usual else {"max_tokens": str(question.max_tokens)}),
    }


def link_key(text: str) -> str | None:
    """What stands for a long text in a link; ``None`` for one that is in it whole."""
    return text_key(text) if len(text) > LINK_CHARACTERS else None


def span(positions: str) -> tuple[int, int] | None:
    """The ends of positions such as ``3..9``, in order; ``None`` for anything else."""
    ends = SPAN.fullmatch(positions)
    if ends is None:
        return None
    first, last = sorted(map(int, ends.groups()))
    return first, last


def within(ends: tuple[int, int] | None) -> bool:
    """Whether there are ``ends`` of a span, within the longest text that may be asked for."""
    return ends is not None and ends[1] < limits().tokens


def nothing_kept(key: str) -> str | None:
    """The text of a key where no texts are kept."""
    return None


def from_link(
    parameters: Mapping[str, str],
    text_of: Callable[[str], str | None] = nothing_kept,
    most: int = MOST_LINK_CHARACTERS,
) -> tuple[dict[str, str | float | bool], list[str]]:
    """What a link sets, by the name of the `Question`'s attribute, and a sentence for each value passed over.

    Args:
        parameters: Of the link.
        text_of: The text of a key, see `density.store.Store.text`.
        most: Characters of a value; a longer one is passed over.
    """
    found: dict[str, str | float | bool] = {}
    complaints = [
        f"The link's {name} has {len(parameters[name])} characters and at most {most} are read; it was passed over."
        for name in PARAMETERS
        if len(parameters.get(name, "")) > most
    ]
    parameters = {name: value for name, value in parameters.items() if name in PARAMETERS and len(value) <= most}
    for name in ("text", "model"):
        if parameters.get(name, "").strip():
            found[name] = parameters[name].encode(errors="replace").decode()
    if "text" not in found and "kept" in parameters:
        text = text_of(parameters["kept"])
        if text is None:
            complaints.append(NOT_KEPT)
        else:
            found["text"] = text
    for name, choices in (("rule", RULES), ("positions", POSITIONS), ("search", SEARCHES)):
        given = parameters.get(name, "")
        if given in choices or (name == "positions" and within(span(given))):
            found[name] = given
        elif name in parameters:
            wanted = ", ".join(choices) + (", or a span such as 3..9" if name == "positions" else "")
            complaints.append(f"The link's {name} {shown(given)} is not one of {wanted}; it was passed over.")
    if "search" in found:
        found["sweep"] = found.pop("search") == "sweep"
    if "fidelity" in parameters:
        fidelity = number(parameters["fidelity"])
        low, high = FIDELITY_RANGE
        if fidelity is not None and low <= fidelity <= high:
            found["fidelity"] = round(fidelity, 2)
        else:
            given = shown(parameters["fidelity"])
            complaints.append(f"The link's fidelity {given} is not between {low} and {high}; it was passed over.")
    if "max_tokens" in parameters:
        given, most_tokens = parameters["max_tokens"], limits().tokens
        if given.isdecimal() and len(given) < 7 and 1 <= int(given) <= most_tokens:
            found["max_tokens"] = int(given)
        else:
            complaints.append(
                f"The link's token limit {shown(given)} is no number from 1 to {most_tokens}; it was passed over."
            )
    return found, complaints


def number(text: str) -> float | None:
    """``text`` as a number, ``None`` if it is none."""
    try:
        return float(text)
    except ValueError:
        return None
