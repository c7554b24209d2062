"""What the papers report, and whether a corpus bears it out: numbers with intervals, and a rule for each verdict.

A claim is one or several numbers a model (or a pair of models) that should lie above or below a bound. This data
supports it where the whole 95% interval lies on that side, contradicts it where the whole interval lies on the other,
and else cannot tell. Bounds that the papers do not name are ours, and are said to be. **v1** is arXiv 2601.22795,
**s-Trace** is arXiv 2605.27033.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd

from density.charts import PHASES
from density.findings.data import GRID, Tables, along
from density.findings.estimates import (
    covered,
    difference,
    mean_along,
    mean_of,
    place,
    rho,
    row_means,
    share_along,
    shares,
    with_controls,
)
from density.findings.verdicts import Check, Claim, Unit, written
from density.lengths import FEWEST_PREDICTIONS, length_power
from density.search import LATTICE
from density.statistics import FEWEST, bootstrapped, correlation, share
from density.view import percent

SMALL = 1e-3
CONSTRUCTED = PHASES["construction"][1]
STEPS = np.arange(len(GRID))
# Where the complement has more edges than the trace.
MINOR = 0.4
SMALLEST = LATTICE[-1]
NOT_SWEPT = "no prediction was swept; run the corpus command with --sweep"
NO_CONTROLS = "no control was measured; run the corpus command with --sweep --controls"


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
        size = rows["density"].clip(lower=SMALLEST)
        usual = size.groupby(length_power(rows["position"])).transform("median")
        words = "90th over 10th percentile of density"
        for aside, values in (("", size), ("each over the median at its context length", size / usual)):
            estimate = bootstrapped(values.to_numpy(float)[:, None], spread, rows["group"].tolist(), 0)
            checks.append(Check(model, words, estimate, 2.0, unit=Unit.RATIO, aside=aside))
    return Claim(
        "varied",
        "Density varies with the input: some predictions are sparse, others dense",
        "v1",
        "The 90th percentile of density over the 10th; above 2 (ours) is taken as varying. Once of all predictions, "
        "and once with what context length does taken out: each density over the median of those that see 1, 2, 3 to "
        f"4, 5 to 8, ... tokens. Sizes below {percent(SMALLEST)} count as that.",
        tuple(checks),
    )


def spread(rows: np.ndarray) -> float:
    """The 90th percentile over the 10th."""
    low, high = np.percentile(rows[:, 0], [10, 90])
    return float(high / low)


def phased(tables: Tables) -> Claim:
    """Whether fidelity is gained in both phases."""
    checks = []
    for model in tables.models:
        rows = tables.of(tables.swept, model)
        along_sizes = along(rows, "curve_total_variation") if len(rows) else np.zeros((0, len(GRID)))
        ends = [(place(start), place(end)) for start, end, _ in PHASES.values()]
        lost = np.column_stack([along_sizes[:, start] - along_sizes[:, end] for start, end in ends])
        smaller = bootstrapped(lost, lambda drawn: float(drawn.mean(axis=0).min()), rows["group"].tolist(), 0)
        each = [f"{written(mean_along(rows, column))} in {name}" for name, column in zip(PHASES, lost.T, strict=True)]
        beside = f"Lost on average: {', '.join(each)}." if len(rows) else ""
        words = "the smaller of the mean total variations lost in the two phases"
        checks.append(Check(model, words, smaller, 0.1, why=unswept(rows), beside=beside))
    return Claim(
        "phases",
        "Total variation falls in two phases: construction (0.01% to 1% of the graph) and refinement (1% to 100%)",
        "s-Trace",
        "The mean fall in the phase in which it is smaller; above 10% (ours) both phases are taken to be there.",
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
        said = f"From a size of {percent(size)} on, more than half do: there {written(found)}."
    return said


def shared(tables: Tables) -> Claim:
    """Whether inputs that are dense for one model are dense for another."""
    return Claim(
        "models agree",
        "The same inputs are dense for different models",
        "v1 and s-Trace: Spearman 0.26 to 0.71, mean about 0.52, over 5,000 contexts and 10 models",
        "Spearman's correlation over texts of the mean AUC-TV (of the mean density where nothing was swept), the mean "
        "context length held fixed where it differs: the papers' contexts were of one length; above 0.",
        tuple(pairs(tables)),
        "" if len(tables.models) > 1 else "there is one model; measure the same texts with another",
    )


def pairs(tables: Tables) -> Iterator[Check]:
    """The correlation of every two models on the texts they share."""
    swept = len(tables.swept) > 0
    rows, column, name = (tables.swept, "auc_linear", "AUC-TV") if swept else (tables.measured, "density", "density")
    by_text = rows.pivot_table(index=["group", "text_id"], columns="model", values=[column, "position"])
    for one, other in combinations(tables.models, 2):
        wanted = pd.MultiIndex.from_product([[column, "position"], [one, other]])
        both = by_text.reindex(columns=wanted).dropna()
        found = {"one": both[column, one], "other": both[column, other], "position": both["position"].mean(axis=1)}
        shared = pd.DataFrame(found).reset_index()
        why = "" if len(shared) >= FEWEST else f"they have {len(shared)} texts in common, and {FEWEST} are needed"
        check = length_fixed(f"{one} and {other}", f"correlation of {name}", shared, shared["one"], "other", why)
        yield replace(check, pair=(one, other))


def rare(tables: Tables) -> Claim:
    """Whether rarer tokens take more."""
    checks = []
    for model in tables.models:
        rows = tables.of(tables.measured, model)
        for column, words in (("top_zipf", "token found likeliest"), ("came_zipf", "token that came")):
            known = rows.dropna(subset=[column]) if column in rows else rows.iloc[:0].assign(**{column: 0.0})
            name = f"correlation of density with the rarity of the {words}"
            checks.append(length_fixed(model, name, known, -known[column], "density", unlooked(tables, model)))
    language = f" of {tables.languages}" if tables.languages else ""
    return Claim(
        "rarity",
        "Rarer tokens take more",
        "v1",
        f"Spearman's correlation of density with minus the token's log frequency (wordfreq's{language}; texts that say "
        "they are in another language are left out, and tokens without a frequency), of the token predicted and of the "
        "token that came apart, the context's length held fixed; above 0.",
        tuple(checks),
    )


def unlooked(tables: Tables, model: str) -> str:
    """Why a model's frequencies are lacking."""
    return tables.no_frequencies.get(model, "") or ("" if tables.languages else "frequencies were not looked up")


def length_fixed(model: str, words: str, rows: pd.DataFrame, x: pd.Series, column: str, why: str = "") -> Check:
    """A correlation of ``x`` with a column that should be above 0, context length held fixed where it differs."""
    given = ["position"] if rows["position"].nunique() > 1 else []
    found, beside, aside = rho(rows, x, column, given), "", ""
    if given:
        aside = "context length held fixed"
        beside = f"Without holding it fixed: {written(rho(rows, x, column), Unit.CORRELATION)}."
    return Check(model, words, found, 0.0, unit=Unit.CORRELATION, why=why, beside=beside, aside=aside)


def eased(tables: Tables) -> Claim:
    """Whether a longer context takes less."""
    checks = []
    for model in tables.models:
        rows = tables.of(tables.measured, model)
        words, estimate = "correlation of density with position", rho(rows, rows["position"], "density")
        why = "" if rows["position"].nunique() > 1 else "every prediction sees as many tokens"
        edges = rho(rows, rows["position"], "edges_trace") if rows["edges_trace"].notna().all() else None
        beside = f"Of the number of edges: {written(edges, Unit.CORRELATION)}." if edges and edges.value else ""
        checks.append(Check(model, words, estimate, 0.0, False, Unit.CORRELATION, why, beside))
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
        f"own correlation is below 0, of those with {FEWEST_PREDICTIONS} predictions or more, above one half. Density "
        "is a share of a graph that grows with the square of the context: a smaller share can be of more edges.",
        tuple(checks),
    )


def long_enough(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The texts with enough predictions for a correlation along them."""
    return ((text, some) for text, some in rows.groupby("text_id") if len(some) >= FEWEST_PREDICTIONS)


def uncertain(tables: Tables) -> Claim:
    """Whether density goes with the model's uncertainty."""
    checks = []
    for model in tables.models:
        swept, rows = tables.of(tables.swept, model), tables.of(tables.measured, model)
        for some, column, name in ((swept, "auc_log10", "AUC-TV, log axis"), (rows, "density", "density")):
            words = f"correlation of entropy with {name}"
            checks.append(length_fixed(model, words, some, some["entropy"], column, unswept(some)))
    return Claim(
        "uncertainty",
        "Density goes with the model's uncertainty",
        "s-Trace",
        "Spearman's correlation of the full model's entropy with the area under total variation against log size, and "
        "with the density, the context's length held fixed; above 0.",
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
            words = f"share of edges in the first half of the layers at a size of {percent(size)}"
            aside = "less that of all edges"
            checks.append(Check(model, words, mean_along(rows, beyond), 0.0, why=unswept(rows), aside=aside))
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
        earlier = covered(rows, "curve_edges_mlp") - covered(rows, "curve_edges_head")
        for size in (SMALL, CONSTRUCTED):
            words = f"share of all MLP edges in the trace of size {percent(size)}"
            aside = "less that of all heads' edges"
            estimate = mean_along(rows, earlier[:, place(size)])
            checks.append(Check(model, words, estimate, 0.0, why=unswept(rows), aside=aside))
    return Claim(
        "attention late",
        "Attention comes late",
        "s-Trace",
        "How much of the full graph's MLP edges a trace has, less how much of its heads' edges, at sizes of "
        f"{percent(SMALL)} and {percent(CONSTRUCTED)}; above 0. It would be 0 if heads came in as early as MLPs.",
        tuple(checks),
    )


def unigrams(tables: Tables) -> Claim:
    """Whether small traces hold what is true of all text."""
    checks = []
    for model in tables.models:
        rows = tables.of(tables.swept, model)
        why = unswept(rows) or unlooked(tables, model)
        for size in (SMALL, CONSTRUCTED):
            words = f"Zipf frequency of the likeliest token of the trace of size {percent(size)}"
            aside = "less the full model's"
            estimate = None if why else mean_along(rows, along(rows, "curve_zipf")[:, place(size)] - rows["top_zipf"])
            checks.append(Check(model, words, estimate, 0.0, unit=Unit.ZIPF, why=why, aside=aside))
    return Claim(
        "unigrams",
        "Small traces hold unigram statistics",
        "s-Trace",
        f"One thing that would follow: what traces of {percent(SMALL)} and {percent(CONSTRUCTED)} find likeliest is a "
        "more frequent token than what the full model does. The mean difference of their Zipf frequencies; above 0. "
        "Traces that predict what the empty one does tell nothing and are left out, as are texts in other languages "
        "and tokens without a frequency.",
        tuple(checks),
    )


def chosen(tables: Tables) -> Claim:
    """Whether the strongest edges do better than others."""
    checks = []
    for model in tables.models:
        rows = with_controls(tables.of(tables.swept, model))
        gain = difference(rows, "curve_random_total_variation")
        for name, (start, end, _) in PHASES.items():
            inside = (place(start) <= STEPS) & (place(end) >= STEPS) & (GRID < 1)
            words, aside = "total variation of the random control", f"less the trace's, mean over sizes of {name}"
            estimate = mean_along(rows, row_means(gain[:, inside]))
            checks.append(Check(model, words, estimate, 0.0, why=uncontrolled(rows), aside=aside))
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
        words, aside = "total variation of the complement", f"less the trace's, at a size of {percent(MINOR)}"
        checks.append(Check(model, words, mean_along(rows, worse), 0.0, why=uncontrolled(rows), aside=aside))
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


def unswept(rows: pd.DataFrame) -> str:
    """Why a curve is lacking."""
    return "" if len(rows) else NOT_SWEPT


def uncontrolled(rows: pd.DataFrame) -> str:
    """Why controls are lacking."""
    return "" if len(rows) else NO_CONTROLS
