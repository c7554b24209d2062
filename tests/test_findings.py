"""Findings: verdicts where the truth is known, figures that are plain aggregates, and every dataset that is refused."""

import json
import re
import shutil
from html import escape

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from density import cli
from density.errors import BadInput, DensityError
from density.findings import claims as asked
from density.findings.claims import claims
from density.findings.data import along, command, load_tables, with_frequencies
from density.findings.document import assess
from density.findings.report import report, write_figures
from density.findings.verdicts import Check, Unit, Verdict
from density.frequency import Frequencies, Table
from density.statistics import Estimate
from tests.made_corpus import GRID, ONE, OTHER, falling, made_corpus, swept

SWEEP = {"sweep": True, "controls": True}


def noise(*seeds):
    """A number around 0 that depends on ``seeds`` alone."""
    return float(np.random.default_rng(seeds).normal())


def name_seed(model):
    return 1 if model == ONE else 2


def as_reported(model, text, position):
    """What the papers report: two phases, early, dense where uncertain, better than chance."""
    middle = 10 ** (-2.7 + 0.4 * noise(text) + 0.1 * noise(text, name_seed(model)))
    variation = falling(middle)
    return {
        "entropy": float(np.log(middle)) + 10 + 0.1 * noise(text, 3),
        "density": min(50 * middle, 1.0),
        **swept(
            variation,
            random=np.where(GRID < 1, (1 + variation) / 2, 0),
            complement=1 - variation,
            agrees=GRID >= 5e-4,
            heads=0.2 + 0.7 * GRID**0.2,
            early=np.clip(0.9 - GRID**0.2, 0.25, 1),
        ),
    }


def otherwise(model, text, position):
    """The opposite of each."""
    middle = 0.3 * (1 + 0.05 * noise(text))
    variation = np.where(GRID < 1, 1 / (1 + np.exp((GRID - middle) / 0.05)), 0.0)
    return {
        "entropy": -middle,
        "density": 0.05 + (middle / 100),
        **swept(
            variation,
            random=variation / 2,
            complement=np.zeros_like(variation),
            agrees=GRID >= 0.6,
            heads=0.9 - 0.7 * GRID**0.2,
            early=np.clip(0.25 * GRID**0.2, 0, 0.25),
        ),
    }


def verdicts(tables):
    """The verdicts of every claim by its name, of each its checks' in their order."""
    return by_name(claims(tables))


def by_name(found):
    return {claim.name: [check.verdict for check in claim.checks] for claim in found}


@pytest.fixture(scope="module")
def supporting(tmp_path_factory):
    """A dataset that bears the papers out."""
    return made_corpus(tmp_path_factory.mktemp("made") / "yes", as_reported, texts=30, models=(ONE, OTHER), **SWEEP)


@pytest.fixture(scope="module")
def found(supporting):
    return assess(load_tables([supporting]))


# Verdicts


def test_a_verdict_is_where_the_whole_interval_lies():
    def test(low, high, **given):
        return Check("m", "a number", Estimate((low + high) / 2, low, high, 10, 10), 0.5, **given)

    assert test(0.6, 0.8).verdict == Verdict.SUPPORTED == test(0.2, 0.4, above=False).verdict
    assert test(0.2, 0.4).verdict == Verdict.CONTRADICTED == test(0.6, 0.8, above=False).verdict
    assert test(0.4, 0.6).verdict == test(0.5, 0.6).verdict == Verdict.CANNOT_TELL
    assert Check("m", "a number", Estimate(0.9, None, None, 3, 3), 0.5).verdict == Verdict.CANNOT_TELL
    assert Check("m", "a number", None, 0.5).verdict == Verdict.CANNOT_TELL


def test_a_sentence_has_the_number_its_interval_and_how_many_texts():
    one = Check("m", "mean density", Estimate(0.25, 0.2, 0.3, 120, 30), 0.1)
    assert one.sentence == (
        "Supported: mean density is 25% (20% to 30%; 120 predictions of 30 texts), all of the interval above 10%."
    )
    wide = Check("m", "correlation", Estimate(0.1, -0.1, 0.3, 9, 9), 0.0, unit=Unit.CORRELATION)
    assert wide.sentence == "Cannot tell: correlation is 0.10 (-0.10 to 0.30; 9 texts), an interval that holds 0.00."
    none = Check("m", "correlation", Estimate(None, None, None, 3, 3), 0.0, unit=Unit.CORRELATION)
    assert none.sentence == "Cannot tell: correlation is not known (3 observations, and 4 are needed)."
    few = Check("m", "mean density", Estimate(0.25, None, None, 6, 2), 0.1)
    assert few.sentence == "Cannot tell: mean density is 25%, without an interval (2 texts, and 10 are needed)."


def test_every_number_that_cannot_be_told_is_named(tmp_path):
    tables = load_tables([made_corpus(tmp_path / "few", lambda *_: {"density": 0.3}, texts=3)])
    for claim in claims(tables):
        assert all(check.what in check.sentence for check in claim.checks), claim.name
        assert len({check.sentence for check in claim.checks}) == len(claim.checks), claim.name


def test_what_bears_the_papers_out_is_supported(found):
    told = by_name(found.claims)
    for name in ("unigrams", "rarity", "context"):
        assert set(told.pop(name)) == {Verdict.CANNOT_TELL}, name
    # A small area on the linear axis is what sparse means there.
    assert told.pop("dense")[1] == Verdict.CONTRADICTED
    assert {name for name, one in told.items() if set(one) != {Verdict.SUPPORTED}} == set()
    assert len(told) == len(asked.CLAIMS) - 4


def test_what_speaks_against_them_is_contradicted(tmp_path):
    told = verdicts(load_tables([made_corpus(tmp_path / "no", otherwise, **SWEEP)]))
    assert told["dense"][0] == told["varied"][0] == told["top token"][0] == Verdict.CONTRADICTED
    assert told["phases"] == [Verdict.CONTRADICTED]
    for name in ("early layers", "attention late", "better than random", "complement worse", "uncertainty"):
        assert set(told[name]) == {Verdict.CONTRADICTED}, name


def test_what_nothing_depends_on_cannot_be_told(tmp_path):
    def row(model, text, position):
        return {"entropy": noise(text, 5), "density": 0.3 + 0.1 * noise(text, position, 7)}

    told = verdicts(load_tables([made_corpus(tmp_path / "chance", row, texts=13, positions=5)]))
    assert set(told["uncertainty"]) == {Verdict.CANNOT_TELL}
    assert told["context"][0] == Verdict.CANNOT_TELL
    assert {one for name in ("phases", "early layers", "complement worse") for one in told[name]} == {
        Verdict.CANNOT_TELL
    }


def test_density_that_falls_along_texts_is_told_from_density_that_rises(tmp_path):
    def row(model, text, position):
        slope = -0.02 if model == ONE else 0.02
        return {"density": 0.5 + slope * position + 0.01 * noise(text, position)}

    tables = load_tables([made_corpus(tmp_path / "along", row, texts=11, positions=9, models=(ONE, OTHER))])
    assert verdicts(tables)["context"] == [Verdict.SUPPORTED] * 2 + [Verdict.CONTRADICTED] * 2


# The larger a token's number, the more frequent it is.
FREQUENCIES = Frequencies({"en": 1.0}, Table(10 ** (np.arange(150) / 20 - 9), np.zeros(150), 0.0))


def frequencies_of(model, revision):
    assert revision == "revision-of-" + model
    if model == OTHER:
        raise DensityError("its tokenizer is elsewhere")
    return FREQUENCIES


def test_rarity_is_of_the_token_predicted_and_of_the_one_that_came_apart(tmp_path):
    def row(model, text, position):
        rare, came = abs(noise(text, position, 1)), abs(noise(text, position, 2))
        density = 0.2 + 0.1 * rare - 0.05 * came
        return {"density": density, "top_ids": [round(100 - 20 * rare)], "next_id": round(100 - 20 * came)}

    tables = load_tables([made_corpus(tmp_path / "rare", row, texts=17, positions=5, models=(ONE, OTHER))])
    tables = with_frequencies(tables, frequencies_of)
    (claim,) = (one for one in claims(tables) if one.name == "rarity")
    predicted, came, *others = claim.checks
    assert (predicted.verdict, came.verdict) == (Verdict.SUPPORTED, Verdict.CONTRADICTED)
    assert "context length held fixed" in predicted.aside and "Without holding it fixed" in predicted.beside
    assert [check.sentence for check in others] == [
        f"Cannot tell: correlation of density with the rarity of the token {which} is not known (its tokenizer is "
        "elsewhere)."
        for which in ("found likeliest", "that came")
    ]
    assert {"density-frequency-likeliest", "density-frequency-came"} <= {one.name for one in assess(tables).figures}


def test_frequencies_are_of_texts_in_their_language(tmp_path):
    def row(model, text, position):
        return {"language": ["en", "de", None][text % 3], "density": 0.3, "top_ids": [50], "next_id": 3}

    tables = with_frequencies(load_tables([made_corpus(tmp_path / "spoken", row, texts=12)]), frequencies_of)
    has_one = tables.searched.groupby(tables.searched["language"].fillna("none"))["top_zipf"].count()
    assert has_one.to_dict() == {"en": 4, "de": 0, "none": 4}


@pytest.mark.parametrize("more_frequent", [True, False])
def test_small_traces_are_held_against_frequencies(tmp_path, more_frequent):
    def row(model, text, position):
        # In every third text the small traces predict what the empty one does, whatever token that is.
        variation = np.where(GRID < 0.1, 1.0 if text % 3 == 0 else 0.7 + 0.01 * noise(text), 0.0)
        other = 120 if more_frequent != (text % 3 == 0) else 20
        return {"density": 0.3, "top_ids": [70], **swept(variation, agrees=GRID >= 0.1, top_id=other)}

    tables = load_tables([made_corpus(tmp_path / "unigrams", row, texts=30, models=(ONE, OTHER), **SWEEP)])
    tables = with_frequencies(tables, frequencies_of)
    mine, others = np.split(np.array(asked.unigrams(tables).checks), 2)
    assert {check.verdict for check in mine} == {Verdict.SUPPORTED if more_frequent else Verdict.CONTRADICTED}
    assert {(check.estimate.value, check.estimate.n) for check in mine} == {(2.5 if more_frequent else -2.5, 20)}
    assert [check.sentence for check in others] == [
        f"Cannot tell: Zipf frequency of the likeliest token of the trace of size {size}, less the full model's, is "
        "not known (its tokenizer is elsewhere)."
        for size in ("0.1%", "1%")
    ]


def test_what_context_length_alone_does_is_no_agreement_and_no_uncertainty(tmp_path):
    def row(model, text, position):
        long = 1 + text % 7
        density = 0.9 / long + 0.02 * noise(text, name_seed(model))
        return {"position": long, "density": density, "entropy": 5 / long + 0.1 * noise(text, 9)}

    tables = load_tables([made_corpus(tmp_path / "long", row, texts=70, models=(ONE, OTHER))])
    (agree,) = asked.shared(tables).checks
    assert agree.verdict == Verdict.CANNOT_TELL and "Without holding it fixed: 0.9" in agree.beside
    density = asked.uncertain(tables).checks[1]
    assert density.verdict == Verdict.CANNOT_TELL and "context length held fixed" in density.aside
    everything, given_length = asked.varied(tables).checks[:2]
    assert (everything.verdict, given_length.verdict) == (Verdict.SUPPORTED, Verdict.CONTRADICTED)


def test_a_minimal_pair_is_one_text_and_what_sees_no_text_is_left_out(tmp_path):
    def row(model, text, position):
        return {"pair": f"p{text // 2}" if text < 20 else None, "added": 1, "density": 0.3 + 0.01 * text}

    tables = load_tables([made_corpus(tmp_path / "pairs", row, texts=30, positions=2)])
    estimate = asked.dense(tables).checks[0].estimate
    assert (tables.blind, estimate.n, estimate.groups) == (30, 30, 20)
    assert "30 predictions that see only what the tokenizer puts before" in report(assess(tables))


def test_models_are_compared_on_the_texts_they_share(tmp_path):
    def row(model, text, position):
        return {"density": 0.3 + 0.01 * text if model == ONE else 0.9 - 0.01 * text}

    one = made_corpus(tmp_path / "one", row, texts=20, models=(ONE,))
    other = made_corpus(tmp_path / "other", row, texts=20, models=(OTHER,), first=10)
    apart = made_corpus(tmp_path / "apart", row, texts=20, models=(OTHER,), first=20)
    (test,) = asked.shared(load_tables([one, other])).checks
    assert (test.estimate.value, test.estimate.n, test.verdict) == (pytest.approx(-1), 10, Verdict.CONTRADICTED)
    (test,) = asked.shared(load_tables([one, apart])).checks
    assert test.sentence == (
        "Cannot tell: correlation of density is not known (they have 0 texts in common, and 4 are needed)."
    )
    assert "there is one model" in asked.shared(load_tables([one])).headline


# Tables


def test_a_size_has_the_largest_trace_of_at_most_that_size():
    rows = pd.DataFrame(
        {
            "curve_size": [[4e-3, 0.3, 1.0], [0.5, 1.0]],
            "curve_total_variation": [[0.8, 0.4, 0.0], [0.3, 0.0]],
            "curve_random_total_variation": [[0.9, 0.6, 0.0], None],
            "empty_total_variation": [0.95, 0.99],
        }
    )
    at = [asked.place(size) for size in (3e-3, 4e-3, 0.2, 0.4, 1.0)]
    assert along(rows, "curve_total_variation")[:, at].tolist() == [
        [0.95, 0.8, 0.8, 0.4, 0],
        [0.99, 0.99, 0.99, 0.99, 0],
    ]
    first, second = along(rows, "curve_random_total_variation")[:, at]
    assert np.isnan(first[0]) and first[1:].tolist() == [0.9, 0.9, 0.6, 0]
    assert np.isnan(second).all()


def test_searched_predictions_are_never_mixed_with_swept_ones_and_their_brackets_are_compared(tmp_path):
    def coarse(model, text, position):
        return {**as_reported(model, text, position), "density": 0.4, "below_size": 0.2}

    def fine(model, text, position):
        return {"density": 0.3 if text < 30 else 0.19, "below_size": 0.27 if text < 30 else 0.17}

    one = made_corpus(tmp_path / "swept", coarse, **SWEEP)
    other = made_corpus(tmp_path / "searched", fine, texts=35)
    tables = load_tables([one, other])
    assert (len(tables.swept), len(tables.searched), len(tables.measured)) == (40, 35, 35)
    agreement = assess(tables).agreement
    assert (agreement.value, agreement.n) == (pytest.approx(30 / 35), 35)


def test_what_is_unfinished_or_failed_is_counted(tmp_path):
    def row(model, text, position):
        failed = {"error": "BadInput: too long", "density": None, "search": None}
        return failed if text == 3 else {"density": 0.1 + 0.01 * text}

    tables = load_tables([made_corpus(tmp_path / "some", row, texts=9, finished=7)])
    (part,) = tables.parts
    assert (part.finished, part.predictions, part.failed, part.whole) == ({ONE: 7}, {ONE: 6}, {ONE: 1}, False)
    assert "It is not finished" in report(assess(tables)) and "7 of 9" in report(assess(tables))


def test_the_command_is_the_one_that_made_the_data(tmp_path):
    from density.corpus.dataset import settings_of
    from density.corpus.rows import Measure
    from density.corpus.sources import load_texts

    def of(limit=None, seed=0, column=None, **measure):
        texts = load_texts("sample", limit=limit, seed=seed)
        given = {"source": "sample", "precision": "float32", "column": column}
        settings = settings_of(texts, ["smollm2-135m", "a b"], Measure(seed=seed, **measure), **given)
        return command("run", {**settings, "opened": {}})

    start = "python -m density corpus sample --out run --model smollm2-135m --model 'a b'"
    assert of() == start
    assert of(column="said it") == start.replace(" --model", " --column 'said it' --model", 1)
    assert of(sweep=True, controls=True) == start + " --sweep --controls"
    assert of(limit=30, seed=2, positions="all") == start + " --positions all --limit 30 --seed 2"


# What is refused


def test_datasets_that_cannot_be_read_or_put_together_are_refused(tmp_path):
    def row(model, text, position):
        return {"density": 0.3}

    one = made_corpus(tmp_path / "one", row, texts=5)
    with pytest.raises(BadInput, match=r"nowhere is no dataset"):
        load_tables([tmp_path / "nowhere"])
    with pytest.raises(BadInput, match=r"no prediction is measured in what was given \(no text yet\)"):
        load_tables([made_corpus(tmp_path / "empty", row, texts=5, finished=0)])
    with pytest.raises(BadInput, match=r"given twice"):
        load_tables([one, tmp_path / "x" / ".." / "one"])
    with pytest.raises(BadInput, match=r"has fidelity 0\.9 and .*one has 0\.8"):
        load_tables([one, made_corpus(tmp_path / "finer", row, texts=5, fidelity=0.9)])
    renamed = made_corpus(tmp_path / "renamed", row, texts=5)
    manifest = renamed / "_manifest.json"
    settings = json.loads(manifest.read_text())
    settings["opened"][ONE]["revision"] = "another"
    manifest.write_text(json.dumps(settings))
    with pytest.raises(BadInput, match=f"{ONE} means other weights in"):
        load_tables([one, renamed])
    manifest.write_text(json.dumps({**settings, "schema": "density.corpus/7"}))
    with pytest.raises(BadInput, match=r"schema 'density\.corpus/7', and this version reads and writes"):
        load_tables([renamed])
    (shard,) = one.glob("*.parquet")
    table = pq.read_table(shard)
    texts = table.column("text").to_pylist()
    other = made_corpus(tmp_path / "others", row, texts=5)
    (there,) = other.glob("*.parquet")
    pq.write_table(table.set_column(table.schema.get_field_index("text"), "text", [[t + "!" for t in texts]]), there)
    with pytest.raises(BadInput, match=r"the id 't0' stands for two texts"):
        load_tables([one, other])
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(BadInput, match=r"a file in .*one is damaged .*run the same corpus command again"):
        load_tables([one])


# Figures and the report


def exploded(folder):
    """A dataset a row a point of a curve, by pandas alone."""
    frame = pd.read_parquet(folder)
    columns = [name for name in frame if name.startswith("curve_")]
    return frame.explode(columns).astype({name: float for name in columns})


def test_figures_are_what_pandas_makes_of_the_data(supporting, found):
    points = exploded(supporting)
    points = points[points["model"] == ONE]
    figures = {one.name: one.frame for one in found.figures if one.model == ONE}
    by_size = points.groupby("curve_size")
    for run, column in (("trace", ""), ("random control", "random_"), ("complement", "complement_")):
        drawn = figures["variation-log"]
        drawn = drawn[drawn["run"] == run].set_index("size")
        expected = by_size[f"curve_{column}total_variation"].mean()
        pd.testing.assert_series_equal(drawn["mean"], expected, check_names=False)
        assert (drawn["low"] <= drawn["mean"]).all() and (drawn["mean"] <= drawn["high"]).all()
        assert set(drawn["n"]) == set(drawn["texts"]) == {30}
    assert figures["variation-linear"]["size"].iloc[0] == 0
    top = figures["top-token"].set_index("size")["mean"]
    pd.testing.assert_series_equal(top, by_size["curve_top_token_agrees"].mean(), check_names=False)
    nucleus = figures["nucleus"].set_index("size")["mean"]
    pd.testing.assert_series_equal(nucleus, by_size["curve_nucleus_recovered"].mean() / 100, check_names=False)
    kinds = {part: drawn.set_index("size")["mean"] for part, drawn in figures["kinds"].groupby("part")}
    for part, column in (("heads", "head"), ("MLP", "mlp"), ("residual", "residual")):
        expected = (points[f"curve_edges_{column}"] / points["curve_edges"]).groupby(points["curve_size"]).mean()
        pd.testing.assert_series_equal(kinds[part], expected, check_names=False)
    assert np.allclose(figures["depths"].groupby("size")["mean"].sum(), 1)
    rows = pd.read_parquet(supporting).query("model == @ONE")
    counts = figures["distribution-auc-linear"]["predictions"]
    assert (
        counts.tolist()
        == pd.cut(rows["auc_linear"], np.linspace(0, 1, 21), right=False).value_counts(sort=False).tolist()
    )


def test_intervals_are_no_narrower_than_texts_allow(tmp_path):
    def row(model, text, position):
        return {"density": 0.3 + 0.1 * noise(text)}

    tables = load_tables([made_corpus(tmp_path / "same", row, texts=20, positions=50)])
    density = asked.dense(tables).checks[0].estimate
    spread = pd.read_parquet(tmp_path / "same").groupby("text_id")["density"].first().std() / 20**0.5
    assert density.high - density.low == pytest.approx(2 * 1.96 * spread, rel=0.25)
    assert (density.n, density.groups) == (1000, 20)


def context_figures(found):
    return [figure for figure in found.figures if figure.name == "density-context"]


def test_lengths_too_few_predictions_see_are_said_to_be_left_out(tmp_path):
    # 1 | 2 | 3, 4 | 5 to 8 tokens: of 2, 3, 5 and 11 texts.
    places = [0] * 2 + [1] * 3 + [2] * 5 + [4] * 11

    def of(model, text, position):
        return {"position": places[text], "density": 0.3}

    (figure,) = context_figures(assess(load_tables([made_corpus(tmp_path / "last", of, texts=21)])))
    assert figure.frame["n"].tolist() == [2, 3, 5, 11]
    assert figure.frame["mean"].notna().tolist() == [False, False, True, True]
    assert figure.frame["low"].notna().tolist() == [False, False, False, True]
    assert figure.caption == (
        "Mean density by how many tokens the prediction sees, with its 95% interval where it is of 10 texts or more. "
        "21 predictions of 21 texts. 5 of the predictions are in no bin drawn: a mean of fewer than 4 is not estimated."
    )
    drawn = figure.chart().to_dict()["data"]["values"]
    assert [one["tokens"] for one in drawn if one["mean"] is not None] == ["3-4", "5-8"]


def test_no_figure_by_length_is_made_where_no_length_has_a_mean(tmp_path):
    def of(model, text, position):
        return {"position": 2**text, "density": 0.3}

    assert not context_figures(assess(load_tables([made_corpus(tmp_path / "five", of, texts=5)])))


def test_a_figure_by_length_that_lacks_nothing_says_no_more(tmp_path):
    tables = load_tables([made_corpus(tmp_path / "all", lambda *_: {"density": 0.3}, texts=12, positions=3)])
    (figure,) = context_figures(assess(tables))
    assert figure.caption == (
        "Mean density by how many tokens the prediction sees, with its 95% interval. 36 predictions of 12 texts."
    )


@pytest.mark.parametrize(
    ("texts", "entropy", "lined", "said"),
    [
        (3, lambda text: text, False, "There is no correlation: 3 observations, and 4 are needed."),
        (5, lambda text: 1.0, False, "There is no correlation: one of the two does not vary."),
        (5, lambda text: text, True, "Spearman's correlation is -1.00."),
    ],
)
def test_a_scatter_speaks_of_a_line_and_a_correlation_where_there_are_some(tmp_path, texts, entropy, lined, said):
    def row(model, text, position):
        return {"entropy": float(entropy(text)), **swept(falling(0.01 * 0.5**text))}

    tables = load_tables([made_corpus(tmp_path / "few", row, texts=texts, sweep=True)])
    (figure,) = (one for one in assess(tables).figures if one.name == "auc-tv-entropy")
    line = "; the line is the median of all pairs' slopes (Theil-Sen)" if lined else ""
    assert figure.caption == f"A point a prediction{line}. {said} {texts} predictions of {texts} texts."
    assert ("trend" in set(figure.frame["part"])) == lined


def test_the_report_is_one_page_that_asks_nobody(found):
    page = report(found)
    # Names of XML's vocabularies are not asked for.
    assert set(re.findall(r"https?://[^\"'\s<)]+", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "<script" not in page and "default-src 'none'" in page
    assert len(page) < 2_000_000
    for claim in found.claims:
        assert escape(claim.words) in page and escape(claim.rule) in page
    assert page.count("<svg") == len(found.figures)
    assert f"python -m density corpus texts.txt --out yes --model {ONE}" in page


def test_figures_are_written_as_drawings_and_numbers(found, tmp_path):
    from dataclasses import replace

    some = replace(found, figures=tuple(one for one in found.figures if one.name in ("variation-log", "models")))
    names = write_figures(some, tmp_path / "figures")
    assert sorted(names) == sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert len(names) == 3 * len(some.figures) == 9
    assert (tmp_path / "figures" / "models.svg").read_text().startswith("<svg")
    assert (tmp_path / "figures" / f"variation-log-{ONE}.png").read_bytes().startswith(b"\x89PNG")
    kept = pd.read_csv(tmp_path / "figures" / f"variation-log-{ONE}.csv")
    assert kept["mean"].tolist() == pytest.approx(some.figures[0].frame["mean"].tolist())


def test_the_command_writes_the_page_and_the_document(supporting, tmp_path, capsys):
    folder = shutil.copytree(supporting, tmp_path / "data")
    assert cli.main(["findings", str(folder), "--out", str(tmp_path / "page.html"), "--json", "-"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "density.findings/1"
    told = [check["verdict"] for claim in document["claims"] for check in claim["checks"]]
    assert told.count("supported") > 20
    (rarity,) = (claim for claim in document["claims"] if claim["name"] == "rarity")
    assert rarity["checks"][0]["sentence"].startswith(
        f"Cannot tell: {rarity['checks'][0]['what']} is not known ('{ONE}'"
    )
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{data}", "--out", "nowhere/page.html"], "cannot write nowhere/page.html"),
        (["{data}", "--out", "-"], "--out - is no file"),
        (["{data}", "--language", "xx"], "there is no list of words for language 'xx'"),
        (["{data}", "--figures", "{data}/_manifest.json"], "is a file; name a folder"),
        (["{data}/nothing"], "is no dataset"),
        ([], "Missing argument 'DATASET...'"),
    ],
)
def test_a_wrong_call_is_refused_before_any_work(supporting, capsys, arguments, said):
    assert cli.main(["findings", *(part.format(data=supporting) for part in arguments)]) == 2
    printed = capsys.readouterr()
    assert said in printed.err and printed.out == ""
