"""What the papers report, and whether a corpus bears it out: numbers with intervals, and a rule for each verdict.

A claim is one or several numbers a model (or a pair of models) that should lie above or below a bound. This data
supports it where the whole 95% interval lies on that side, contradicts it where the whole interval lies on the other,
and else cannot tell. Bounds that the papers do not name are ours, and are said to be. **v1** is arXiv 2601.22795,
**s-Trace** is arXiv 2605.27033.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

import numpy as np
import pandas as pd

from density.charts import PHASES
from density.findings.data import GRID, Tables, along
from density.search import LATTICE
from density.statistics import FEWEST, Estimate, bootstrapped, correlation, mean, share, spearman
from density.view import percent

SMALL = 1e-3
CONSTRUCTED = PHASES["construction"][1]
STEPS = np.arange(len(GRID))
# Where the complement has more edges than the trace.
MINOR = 0.4
SMALLEST = LATTICE[-1]
NOT_SWEPT = "no prediction was swept; run the corpus command with --sweep"
NO_CONTROLS = "no control was measured; run the corpus command with --sweep --controls"


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

    @property
    def models(self) -> tuple[str, ...]:
        """Whom it is about: one, or two."""
        return self.pair or (self.model,)

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
        if found is None or found.value is None:
            return f"Cannot tell: {self.why or too_few(found)}."
        counted = f"{found.n:,} predictions of {found.groups:,} texts"
        if found.n == found.groups:
            counted = f"{found.groups:,} texts"
        if found.low is None or found.high is None:
            return f"Cannot tell: {self.what} is {write(found.value)}, without an interval ({too_few(found)})."
        said = f"{self.what} is {write(found.value)} ({write(found.low)} to {write(found.high)}; {counted})"
        side = "above" if found.low > self.bound else "below"
        match self.verdict:
            case Verdict.CANNOT_TELL:
                placed = f"an interval that holds {write(self.bound)}"
            case Verdict.SUPPORTED | Verdict.CONTRADICTED:
                placed = f"all of the interval {side} {write(self.bound)}"
        return f"{self.verdict.capitalize()}: {said}, {placed}.{' ' if self.beside else ''}{self.beside}"


def too_few(found: Estimate | None) -> str:
    """Why an estimate lacks its number or its interval."""
    if found is None or found.n < FEWEST:
        return f"{found.n if found else 0} observations, and {FEWEST} are needed"
    if found.value is None:
        return "it does not vary"
    return f"{found.groups} texts, and {FEWEST} are needed"


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
        found = [check.verdict for check in self.checks]
        counted = [f"{found.count(kind)} {kind}" for kind in Verdict if kind in found]
        return found[0].value if len(set(found)) == 1 else ", ".join(counted)


def claims(tables: Tables) -> tuple[Claim, ...]:
    """Every claim, held against the data."""
    return tuple(ask(tables) for ask in CLAIMS)


def dense(tables: Tables) -> Claim:
    """Whether much of the graph is needed."""
    checks = []
    for model in tables.models:
        rows, swept = tables.of(tables.measured, model), tables.of(tables.swept, model)
        words = f"mean density at fidelity {tables.fidelity:.0%}"
        checks.append(Check(model, words, mean_of(rows, "density"), 0.1))
        checks.append(Check(model, "mean linear AUC-TV", mean_of(swept, "auc_linear"), 0.5, why=unswept(swept)))
    return Claim(
        "dense",
        "Computation is dense rather than sparse",
        "v1",
        "Two readings of dense, whose bounds are ours: more than a tenth of the graph is needed on average; and the "
        "area under total variation against size, 0 for sparse and 1 for dense, is above one half on average.",
        tuple(checks),
    )


def varied(tables: Tables) -> Claim:
    """Whether inputs differ in what they need."""
    checks = []
    for model in tables.models:
        rows = tables.of(tables.measured, model)
        estimate = bootstrapped(rows[["density"]].to_numpy(float), spread, rows["text_id"].tolist(), 0)
        checks.append(Check(model, "90th over 10th percentile of density", estimate, 2.0, unit=Unit.RATIO))
    return Claim(
        "varied",
        "Density varies with the input: some predictions are sparse, others dense",
        "v1",
        "The 90th percentile of density over the 10th; above 2 (ours) is taken as varying. Sizes below "
        f"{percent(SMALLEST)} count as that.",
        tuple(checks),
    )


def spread(rows: np.ndarray) -> float:
    """The 90th percentile over the 10th."""
    low, high = np.percentile(np.maximum(rows[:, 0], SMALLEST), [10, 90])
    return float(high / low)


def phased(tables: Tables) -> Claim:
    """Whether fidelity is gained in both phases."""
    checks = []
    for model in tables.models:
        rows = tables.of(tables.swept, model)
        along_sizes = along(rows, "curve_total_variation") if len(rows) else np.zeros((0, len(GRID)))
        for name, (start, end, _) in PHASES.items():
            lost = along_sizes[:, place(start)] - along_sizes[:, place(end)]
            words = f"total variation lost in {name}, from {percent(start)} to {percent(end)},"
            checks.append(Check(model, words, mean_along(rows, lost), 0.1, why=unswept(rows)))
    return Claim(
        "phases",
        "Total variation falls in two phases: construction (0.01% to 1% of the graph) and refinement (1% to 100%)",
        "s-Trace",
        "The mean fall in each phase; above 10% (ours) the phase is taken to be there. Both have to be.",
        tuple(checks),
    )


def recovered(tables: Tables) -> Claim:
    """Whether a thousandth of the graph finds the top token."""
    checks = []
    for model in tables.models:
        rows = tables.of(tables.swept, model)
        agrees = along(rows, "curve_top_token_agrees") if len(rows) else np.zeros((0, len(GRID)))
        estimate = share_along(rows, agrees[:, place(SMALL)])
        words = f"share of predictions that keep their likeliest token at a size of {percent(SMALL)}"
        checks.append(Check(model, words, estimate, 0.5, why=unswept(rows), beside=majority(rows, agrees)))
    return Claim(
        "top token",
        "About 0.1% of the graph recovers the likeliest token",
        "s-Trace, of models of 7B to 14B",
        "The share of predictions whose trace of that size has the full model's likeliest token; above one half (ours) "
        "is taken as recovering it.",
        tuple(checks),
    )


def majority(rows: pd.DataFrame, agrees: np.ndarray) -> str:
    """From which size of the sweep on more than half keep their likeliest token, in a sentence."""
    said = ""
    for size, column in reversed(list(zip(GRID, agrees.T, strict=True))):
        found = share_along(rows, column)
        if found.value is None or found.low is None or found.high is None or found.low <= 0.5:
            break
        write = Unit.SHARE.write
        interval = f"{write(found.low)} to {write(found.high)}"
        said = f"From a size of {percent(size)} on, more than half do: there {write(found.value)} ({interval})."
    return said


def shared(tables: Tables) -> Claim:
    """Whether inputs that are dense for one model are dense for another."""
    return Claim(
        "models agree",
        "The same inputs are dense for different models",
        "v1 and s-Trace: Spearman 0.26 to 0.71, mean about 0.52, over 5,000 contexts and 10 models",
        "Spearman's correlation over texts of the mean AUC-TV (of the mean density where nothing was swept); above 0.",
        tuple(pairs(tables)),
        "" if len(tables.models) > 1 else "there is one model; measure the same texts with another",
    )


def pairs(tables: Tables) -> Iterator[Check]:
    """The correlation of every two models on the texts they share."""
    rows, column = (tables.swept, "auc_linear") if len(tables.swept) else (tables.measured, "density")
    by_text = rows.groupby(["text_id", "model"])[column].mean().unstack("model")
    name = "AUC-TV" if column == "auc_linear" else "density"
    for one, other in combinations(tables.models, 2):
        both = by_text.reindex(columns=[one, other]).dropna()
        estimate = spearman(both[one].to_numpy(), both[other].to_numpy())
        words = f"correlation of {name}"
        why = f"they have {len(both)} texts in common, and {FEWEST} are needed" if len(both) < FEWEST else ""
        about = f"{one} and {other}"
        yield Check(about, words, estimate, 0.0, unit=Unit.CORRELATION, why=why, pair=(one, other))


def rare(tables: Tables) -> Claim:
    """Whether rarer tokens take more."""
    checks = []
    for model in tables.models:
        rows = tables.of(tables.measured, model)
        for column, words in (("top_zipf", "token found likeliest"), ("came_zipf", "token that came")):
            known = rows.dropna(subset=[column]) if column in rows else rows.iloc[:0]
            given = ["position"] if known["position"].nunique() > 1 else []
            held = ", position held fixed," if given else ""
            estimate = rho(known, -known[column] if column in known else known["density"], "density", given)
            why = tables.no_frequencies.get(model, "") or ("" if column in rows else "frequencies were not looked up")
            plain = rho(known, -known[column], "density") if len(known) and given else None
            beside = f"Without holding position fixed: {interval_of(plain)}." if plain and plain.value else ""
            name = f"correlation of density with the rarity of the {words}{held}"
            checks.append(Check(model, name, estimate, 0.0, unit=Unit.CORRELATION, why=why, beside=beside))
    language = f" of {tables.languages}" if tables.languages else ""
    return Claim(
        "rarity",
        "Rarer tokens take more",
        "v1",
        f"Spearman's correlation of density with minus the token's log frequency (wordfreq's{language}, whatever "
        "language a text is in; tokens without one are left out), of the token predicted and of the token that came "
        "apart; above 0.",
        tuple(checks),
    )


def interval_of(found: Estimate) -> str:
    """A correlation with its interval."""
    write = Unit.CORRELATION.write
    bounds = "" if found.low is None or found.high is None else f" ({write(found.low)} to {write(found.high)})"
    return f"{write(found.value or 0.0)}{bounds}"


def eased(tables: Tables) -> Claim:
    """Whether a longer context takes less."""
    checks = []
    for model in tables.models:
        rows = tables.of(tables.measured, model)
        words, estimate = "correlation of density with position", rho(rows, rows["position"], "density")
        why = "" if rows["position"].nunique() > 1 else "every prediction sees as many tokens"
        checks.append(Check(model, words, estimate, 0.0, False, Unit.CORRELATION, why))
        own = pd.Series(
            {text: correlation(some[["position", "density"]].to_numpy(float)) for text, some in long_enough(rows)},
            dtype=float,
        ).dropna()
        why = "no text has enough predictions; run the corpus command with --positions all" if own.empty else ""
        estimate = share((own < 0).to_numpy())
        checks.append(Check(model, "share of texts along which density falls", estimate, 0.5, why=why))
    return Claim(
        "context",
        "A longer context often takes less",
        "v1",
        "Spearman's correlation of density with position over all predictions, below 0; and the share of texts whose "
        "own correlation is below 0, above one half.",
        tuple(checks),
    )


def long_enough(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The texts with enough predictions for a correlation along them."""
    return ((text, some) for text, some in rows.groupby("text_id") if len(some) >= FEWEST)


def uncertain(tables: Tables) -> Claim:
    """Whether density goes with the model's uncertainty."""
    checks = []
    for model in tables.models:
        swept, rows = tables.of(tables.swept, model), tables.of(tables.measured, model)
        for some, column, name in ((swept, "auc_log10", "AUC-TV, log axis,"), (rows, "density", "density")):
            words = f"correlation of entropy with {name}"
            estimate = rho(some, some["entropy"], column)
            checks.append(Check(model, words, estimate, 0.0, unit=Unit.CORRELATION, why=unswept(some)))
    return Claim(
        "uncertainty",
        "Density goes with the model's uncertainty",
        "s-Trace",
        "Spearman's correlation of the full model's entropy with the area under total variation against log size, and "
        "with the density; above 0.",
        tuple(checks),
    )


def early(tables: Tables) -> Claim:
    """Whether small traces sit in early layers."""
    checks = []
    for model in tables.models:
        rows = tables.of(tables.swept, model)
        half = shares(rows, "curve_edges_quarter_1") + shares(rows, "curve_edges_quarter_2")
        for size in (SMALL, CONSTRUCTED):
            beyond = half[:, place(size)] - half[:, -1]
            words = (
                f"share of edges in the first half of the layers at a size of {percent(size)}, less that of all edges,"
            )
            checks.append(Check(model, words, mean_along(rows, beyond), 0.0, why=unswept(rows)))
    return Claim(
        "early layers",
        "Small traces sit in early layers",
        "s-Trace",
        f"At sizes of {percent(SMALL)} and {percent(CONSTRUCTED)}, where construction ends: the share of the trace's "
        "edges that are in the first half of the layers, less the same share of the full graph; above 0. A trace grows "
        "from the prediction down, so that the very smallest are in the last layers.",
        tuple(checks),
    )


def late(tables: Tables) -> Claim:
    """Whether heads come in late."""
    checks = []
    for model in tables.models:
        rows = tables.of(tables.swept, model)
        heads = shares(rows, "curve_edges_head")
        small, middle = heads[:, place(SMALL)], heads[:, place(MINOR)]
        words = f"share of edges that are heads' at a size of {percent(MINOR)}, less that at {percent(SMALL)},"
        checks.append(Check(model, words, mean_along(rows, middle - small), 0.0, why=unswept(rows)))
    return Claim(
        "attention late",
        "Attention comes late",
        "s-Trace",
        f"How much the share of heads' edges grows from a size of {percent(SMALL)} to one of {percent(MINOR)}; above "
        "0. Nearly all edges of the full graph are heads', so that it has to grow in the end.",
        tuple(checks),
    )


def unigrams(tables: Tables) -> Claim:
    """Whether small traces hold what is true of all text."""
    return Claim(
        "unigrams",
        "Small traces hold unigram statistics",
        "s-Trace",
        "What a small trace predicts would have to be compared with the frequencies of tokens.",
        (),
        "a dataset has no distribution that a trace predicts, only its distance from the full model's",
    )


def chosen(tables: Tables) -> Claim:
    """Whether the strongest edges do better than others."""
    checks = []
    for model in tables.models:
        rows = with_controls(tables.of(tables.swept, model))
        gain = difference(rows, "curve_random_total_variation")
        for name, (start, end, _) in PHASES.items():
            inside = (place(start) <= STEPS) & (place(end) >= STEPS) & (GRID < 1)
            words = f"total variation of the random control, less the trace's, mean over sizes of {name},"
            checks.append(
                Check(model, words, mean_along(rows, row_means(gain[:, inside])), 0.0, why=uncontrolled(rows))
            )
    return Claim(
        "better than random",
        "A trace does better than as many random edges",
        "s-Trace",
        "The random control's total variation less the trace's at the same size, the mean over the sweep's sizes in "
        "each phase; above 0. In the control all residual edges are kept besides, in the trace they are not.",
        tuple(checks),
    )


def needed(tables: Tables) -> Claim:
    """Whether what is left without the trace is worse."""
    checks = []
    for model in tables.models:
        rows = with_controls(tables.of(tables.swept, model))
        worse = difference(rows, "curve_complement_total_variation")[:, place(MINOR)]
        words = f"total variation of the complement, less the trace's, at a size of {percent(MINOR)},"
        checks.append(Check(model, words, mean_along(rows, worse), 0.0, why=uncontrolled(rows)))
    return Claim(
        "complement worse",
        "The complement of a trace does worse than the trace",
        "s-Trace",
        f"At a size of {percent(MINOR)}, where the complement has more edges than the trace (and all residual ones): "
        "its total variation less the trace's; above 0.",
        tuple(checks),
    )


CLAIMS: tuple[Callable[[Tables], Claim], ...] = (
    *(dense, varied, phased, recovered, unigrams, early, late),
    *(chosen, needed, shared, uncertain, rare, eased),
)


def place(size: float) -> int:
    """Where a size of the sweep is in `GRID`."""
    return int(np.flatnonzero(np.isclose(GRID, size, rtol=1e-9))[0])


def unswept(rows: pd.DataFrame) -> str:
    """Why a curve is lacking."""
    return "" if len(rows) else NOT_SWEPT


def uncontrolled(rows: pd.DataFrame) -> str:
    """Why controls are lacking."""
    return "" if len(rows) else NO_CONTROLS


def with_controls(swept: pd.DataFrame) -> pd.DataFrame:
    """The predictions whose controls were measured."""
    return swept[swept["curve_random_total_variation"].notna()]


def shares(rows: pd.DataFrame, column: str) -> np.ndarray:
    """What share of a trace's edges are of a kind or depth, along the sizes; NaN of an empty trace."""
    return along(rows, column) / along(rows, "curve_edges")


def difference(rows: pd.DataFrame, control: str) -> np.ndarray:
    """A control's total variation less the trace's, along the sizes; NaN where the trace is empty."""
    return along(rows, control) - along(rows, "curve_total_variation")


def row_means(values: np.ndarray) -> np.ndarray:
    """The mean of each row's numbers; NaN where it has none."""
    counts = (~np.isnan(values)).sum(axis=1)
    return np.where(counts, np.nansum(values, axis=1) / np.maximum(counts, 1), np.nan)


def mean_of(rows: pd.DataFrame, column: str) -> Estimate:
    """A column's mean, its interval by texts."""
    return mean(rows[column].to_numpy(float), rows["text_id"].tolist())


def mean_along(rows: pd.DataFrame, values: np.ndarray) -> Estimate:
    """The mean of a value a prediction, of those that have one; its interval by texts."""
    there = ~np.isnan(values)
    return mean(values[there], rows["text_id"][there].tolist())


def share_along(rows: pd.DataFrame, flags: np.ndarray) -> Estimate:
    """How many of the predictions that have a flag have it at 1; the interval by texts."""
    there = ~np.isnan(flags)
    return share(flags[there] == 1, rows["text_id"][there].tolist())


def rho(rows: pd.DataFrame, x: pd.Series, column: str, given: Sequence[str] = ()) -> Estimate:
    """Spearman's correlation of ``x`` with a column, its interval by texts."""
    controls = [rows[name].to_numpy(float) for name in given]
    y = rows[column].to_numpy(float)
    return spearman(x.to_numpy(float), y, rows["text_id"].tolist(), given=controls)
