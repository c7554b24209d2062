"""What is said of a claim: a number held against a bound, its verdict, and the sentence that tells it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from density.statistics import FEWEST, FEWEST_GROUPS, Estimate
from density.view import percent


class Verdict(StrEnum):
    """What this data says of a claim."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    CANNOT_TELL = "cannot tell"


class Unit(StrEnum):
    """How a number is written."""

    SHARE = "share"
    CORRELATION = "correlation"
    RATIO = "ratio"
    ZIPF = "Zipf"

    def write(self, number: float) -> str:
        """``number`` for people."""
        if self is Unit.SHARE:
            return percent(number)
        return f"{number:.3g}" if self is Unit.RATIO else f"{number:.2f}"


@dataclass(frozen=True, slots=True)
class Check:
    """A number, and where a claim says it lies.

    Attributes:
        model: It is about; for a pair, both names.
        what: The number, in words.
        estimate: The number with its interval; ``None`` where it could not be had.
        bound: That it is held against.
        above: Whether the claim puts it above the bound.
        unit: Of the number.
        why: Why there is no estimate, or no interval.
        beside: One more measured thing, in a sentence.
        pair: The two models, if it is about two.
        aside: What is to be known of the number besides, in words.
    """

    model: str
    what: str
    estimate: Estimate | None
    bound: float
    above: bool = True
    unit: Unit = Unit.SHARE
    why: str = ""
    beside: str = ""
    pair: tuple[str, ...] = ()
    aside: str = ""

    @property
    def models(self) -> tuple[str, ...]:
        """Whom it is about: one, or two."""
        return self.pair or (self.model,)

    @property
    def words(self) -> str:
        """The number in all its words."""
        return f"{self.what}, {self.aside}" if self.aside else self.what

    @property
    def verdict(self) -> Verdict:
        """By the interval alone."""
        if self.estimate is None or not self.estimate.excludes(self.bound):
            return Verdict.CANNOT_TELL
        assert self.estimate.low is not None
        return Verdict.SUPPORTED if (self.estimate.low > self.bound) == self.above else Verdict.CONTRADICTED

    @property
    def sentence(self) -> str:
        """The verdict with what it rests on."""
        found, write = self.estimate, self.unit.write
        named = f"{self.words}{',' if self.aside else ''}"
        if found is None or found.value is None:
            return f"Cannot tell: {named} is not known ({self.why or too_few(found)})."
        counted = f"{found.n:,} predictions of {found.groups:,} texts"
        if found.n == found.groups:
            counted = f"{found.groups:,} texts"
        said = f"{named} is {write(found.value)}"
        if found.low is None or found.high is None:
            return f"Cannot tell: {said}, without an interval ({too_few(found)})."
        said = f"{said} ({write(found.low)} to {write(found.high)}; {counted})"
        side = "above" if found.low > self.bound else "below"
        match self.verdict:
            case Verdict.CANNOT_TELL:
                placed = f"an interval that holds {write(self.bound)}"
            case Verdict.SUPPORTED | Verdict.CONTRADICTED:
                placed = f"all of the interval {side} {write(self.bound)}"
        return f"{self.verdict.capitalize()}: {said}, {placed}.{' ' if self.beside else ''}{self.beside}"


def too_few(found: Estimate | None, constant: str = "it") -> str:
    """Why an estimate lacks its number or its interval; ``constant`` is what else does not vary, in words."""
    count = found.n if found else 0
    if found is None or count < FEWEST:
        return f"{count} observation{'' if count == 1 else 's'}, and {FEWEST} are needed"
    if found.value is None:
        return f"{constant} does not vary"
    return f"{found.groups} texts, and {FEWEST_GROUPS} are needed"


@dataclass(frozen=True, slots=True)
class Claim:
    """Something the papers report.

    Attributes:
        name: A word or two to know it by.
        words: What is claimed.
        source: Where.
        rule: What is measured, and what decides.
        checks: Of each model, or pair.
        why: Why there are none.
    """

    name: str
    words: str
    source: str
    rule: str
    checks: tuple[Check, ...]
    why: str = ""

    @property
    def headline(self) -> str:
        """How many checks came out how, in words."""
        if not self.checks:
            return f"cannot tell: {self.why}"
        counted = {kind: count for kind, count in counted_verdicts(self.checks).items() if count}
        return next(iter(counted)) if len(counted) == 1 else ", ".join(f"{n} {kind}" for kind, n in counted.items())


def counted_verdicts(checks: Iterable[Check]) -> dict[str, int]:
    """How many checks came out how."""
    found = [check.verdict for check in checks]
    return {kind.value: found.count(kind) for kind in Verdict}


def written(found: Estimate, unit: Unit = Unit.SHARE) -> str:
    """A number with its interval."""
    value, *ends = (None if one is None else unit.write(one) for one in (found.value, found.low, found.high))
    return "none" if value is None else value if None in ends else f"{value} ({ends[0]} to {ends[1]})"
