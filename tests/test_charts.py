"""Colours that everybody can tell apart, and charts that hold their numbers and draw, in light and in dark."""

import math
from itertools import combinations, pairwise

import pytest
import vl_convert

from density.charts import (
    PHASES,
    compare_chart,
    curve_chart,
    depth_shares,
    depths_chart,
    heads_chart,
    kinds_chart,
    sources_chart,
)
from density.colours import (
    CAME_COLOUR,
    KIND_COLOURS,
    RUN_COLOURS,
    SCALE,
    channels,
    contrast,
    ink,
    legend,
    luminance,
    tint,
)
from density.corpus.curve import by_quarter
from tests.test_view import HOSTILE

LIGHT, DARK = "#fcfcfb", "#16191c"
SERIES = {"full": ("full model", RUN_COLOURS["full model"]), "trace": ("trace", RUN_COLOURS["trace"])}
TOKENS = [
    {"text": " France", "id": 7, "full": 0.625, "trace": 0.5},
    {"text": " the\n", "id": 5, "full": 0.25, "trace": 0.0001},
    {"text": "<b>", "id": 9, "full": 0.0, "trace": None},
]
POINTS = [
    {"size": 0.0, "edges": 0, "total_variation": 0.9},
    {"size": 0.002, "edges": 2, "total_variation": 0.75},
    {
        **{"size": 0.5, "edges": 500, "total_variation": 0.25},
        "random": {"edges": 500, "edges_kept": 530, "total_variation": 0.5},
        "complement": {"edges": 500, "edges_kept": 510, "total_variation": 0.75},
    },
    {"size": 1.0, "edges": 1000, "total_variation": 0.0},
]
MAKEUP = {
    "sizes": [0.01, 0.1, 1.0],
    "kinds": {"residual": [1.0, 0.5, 0.25], "head": [0.0, 0.25, 0.5], "mlp": [0.0, 0.25, 0.25]},
    "layers": [[0.0, 0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.25, 0.25, 0.5], [0.2, 0.2, 0.2, 0.2, 0.2]],
}
HEADS = {"edges": [[0, 3], [1, 0], [2, 2]], "importance": [[0.0, 0.5], [0.25, 0.0], [0.125, 0.375]]}
# What red-green and blue-yellow blindness leave of linear red, green and blue (Machado et al., 2009, severity 1).
BLINDNESS = {
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
    "none": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
}


def rows_of(chart):
    """What all its layers draw."""
    spec = chart.to_dict()
    given = [part["data"]["values"] for part in (spec, *spec.get("layer", ())) if "data" in part]
    return [row for values in given for row in values]


def lightness(colour):
    """CIE L*, 0 to 100."""
    share = luminance(colour)
    return 116 * share ** (1 / 3) - 16 if share > 216 / 24389 else share * 24389 / 27


def test_the_scale_darkens_evenly():
    steps = [lightness(tint(step / 50)) for step in range(51)]
    line = [steps[0] + (steps[-1] - steps[0]) * step / 50 for step in range(51)]
    assert max(abs(found - wanted) for found, wanted in zip(steps, line, strict=True)) < 2.5
    assert all(later < earlier for earlier, later in pairwise(steps))


def test_the_scale_can_be_told_apart_without_red_or_green():
    # Lightness survives colour blindness: a quarter of the scale is at least 15 steps of L* of a hundred.
    steps = [lightness(tint(share)) for share in (0, 0.25, 0.5, 0.75, 1)]
    assert all(earlier - later > 15 for earlier, later in pairwise(steps))


def test_shares_outside_the_scale_are_held_at_its_ends():
    assert (tint(-1), tint(0), tint(1), tint(2)) == (SCALE[0], SCALE[0], SCALE[-1], SCALE[-1])


def test_a_text_can_be_read_on_every_colour_of_the_scale():
    colours = [tint(step / 200) for step in range(201)]
    assert min(contrast(ink(colour), colour) for colour in colours) > math.sqrt(21) - 1e-9
    assert {ink(colour) for colour in colours} == {"#000000", "#ffffff"}


def test_contrast_is_that_of_the_guidelines():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


def test_the_legend_spans_the_scale():
    shown = legend()
    assert (shown["colours"][0], shown["colours"][-1]) == (tint(0), tint(1))
    assert shown["ticks"] == [[0, "0%"], [0.25, "25%"], [0.5, "50%"], [0.75, "75%"], [1, "100%"]]


def lab(colour, seen):
    """CIE L*a*b* of a colour as somebody with the blindness ``seen`` sees it."""
    shares = [value / 255 for value in channels(colour)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    sums = (sum(a * b for a, b in zip(row, linear, strict=True)) for row in BLINDNESS[seen])
    red, green, blue = (min(max(share, 0), 1) for share in sums)
    x = (0.4124564 * red + 0.3575761 * green + 0.1804375 * blue) / 0.95047
    y = 0.2126729 * red + 0.7151522 * green + 0.0721750 * blue
    z = (0.0193339 * red + 0.1191920 * green + 0.9503041 * blue) / 1.08883
    x, y, z = (v ** (1 / 3) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in (x, y, z))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("seen", BLINDNESS)
@pytest.mark.parametrize(
    "together",
    [
        ("full model", "trace"),
        ("full model", "switched"),
        ("trace", "switched"),
        ("trace", "random control", "complement"),
        tuple(KIND_COLOURS),
    ],
)
def test_colours_on_one_chart_are_told_apart_by_everybody(together, seen):
    colours = {**RUN_COLOURS, **KIND_COLOURS}
    for one, other in combinations(together, 2):
        assert math.dist(lab(colours[one], seen), lab(colours[other], seen)) > 12, (one, other)


def test_one_colour_has_one_meaning_and_is_seen_on_light_and_on_dark():
    colours = [*RUN_COLOURS.values(), *KIND_COLOURS.values(), CAME_COLOUR]
    assert len(set(colours)) == len(colours)
    for one, other in combinations(colours, 2):
        assert math.dist(lab(one, "none"), lab(other, "none")) > 10, (one, other)
    assert min(contrast(colour, page) for colour in colours for page in (LIGHT, DARK)) > 2.5


def test_a_comparison_has_both_probabilities_and_the_token_that_came_stands_out():
    rows = rows_of(compare_chart(TOKENS, SERIES, came=5))
    assert [(row["token"], row["run"], row["shown"]) for row in rows] == [
        ("·France", "full model", "62.5%"),
        ("·France", "trace", "50.0%"),
        ("·the↵", "full model", "25.0%"),
        ("·the↵", "trace", "<0.1%"),
        ("<b>", "full model", "0.0%"),
        ("<b>", "trace", ""),
    ]
    assert [row["ink"] == CAME_COLOUR for row in rows] == [False, False, True, True, False, False]


def test_a_curve_has_its_controls_at_the_size_of_their_trace():
    rows = rows_of(curve_chart(POINTS, 0.8, 0.5))
    drawn = {(row["run"], row["size"]): (row["fidelity"], row["edges"]) for row in rows if "run" in row}
    assert drawn == {
        ("trace", 0.002): (0.25, 2),
        ("trace", 0.5): (0.75, 500),
        ("trace", 1.0): (1.0, 1000),
        ("random control", 0.5): (0.5, 530),
        ("complement", 0.5): (0.25, 510),
    }
    labels = {row[key] for row in rows for key in ("label", "name") if key in row}
    assert labels == {"asked: 80%", "shown: 50%", *(f"{name}\n7B-14B models" for name in PHASES)}


def test_the_phases_are_named_above_the_plot_in_lines_that_fit_a_phone():
    layers = curve_chart(POINTS, 0.8, 0.5).to_dict()["layer"]
    (names,) = (layer for layer in layers if layer["encoding"].get("text", {}).get("field") == "name")
    (legend,) = {layer["encoding"]["color"]["legend"]["offset"] for layer in layers if "color" in layer["encoding"]}
    lines = [row["name"].split(names["mark"]["lineBreak"]) for row in names["data"]["values"]]
    # A band of two decades of six is 88 pixels wide on a phone; a letter is 6 at most.
    assert [len(name) for name in lines] == [2, 2] and max(len(line) for name in lines for line in name) * 6 < 88
    assert names["mark"]["y"] == 0
    # Two lines: the first is below the legend, the last above the size shown.
    assert -legend < names["mark"]["dy"] - 11 and names["mark"]["dy"] + names["mark"]["lineHeight"] < -16


def test_the_empty_trace_is_on_the_linear_axis_alone():
    def smallest(log):
        return min(row["size"] for row in rows_of(curve_chart(POINTS, 0.8, 0.0, log)) if "run" in row)

    assert (smallest(True), smallest(False)) == (0.002, 0.0)


def test_layers_are_drawn_by_quarters_and_no_share_is_lost():
    shares = depth_shares(MAKEUP)
    assert list(shares) == ["0-1", "2", "3", "4"]
    assert [sum(column) for column in zip(*shares.values(), strict=True)] == pytest.approx([1, 1, 1])
    assert list(depth_shares({"layers": [[0.5, 0.5]]})) == ["0", "1"]
    assert depth_shares({"layers": []}) == {}


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 18, 30])
def test_the_chart_and_a_dataset_mean_the_same_quarters(layers):
    edges = list(range(1, layers + 1))
    shares = depth_shares({"layers": [[number / sum(edges) for number in edges]]})
    counted = [number for number in by_quarter(edges) if number]
    assert [share for (share,) in shares.values()] == pytest.approx([number / sum(edges) for number in counted])


def test_heads_without_edges_are_left_blank_and_layers_go_up():
    chart = heads_chart(HEADS, "importance")
    assert [(row["layer"], row["head"], row["edges"], row["importance"]) for row in rows_of(chart)] == [
        (0, 1, 3, 0.5),
        (1, 0, 1, 0.25),
        (2, 0, 2, 0.125),
        (2, 1, 2, 0.375),
    ]
    spec = chart.to_dict()
    assert spec["encoding"]["y"]["scale"]["domain"] == [2, 1, 0]
    assert spec["encoding"]["x"]["scale"]["domain"] == [0, 1]


def test_the_sources_read_most_are_shown_in_the_order_of_the_text():
    tokens = [{"text": f"t{index}"} for index in range(40)]
    sources = {"edges": [*range(40)], "importance": [*range(40)][::-1]}
    by_edges = [row["index"] for row in rows_of(sources_chart(tokens, sources, "edges"))]
    assert by_edges == list(range(10, 40))
    by_importance = [row["index"] for row in rows_of(sources_chart(tokens, sources, "importance"))]
    assert by_importance == list(range(1, 31))


def test_the_height_of_named_rows_is_theirs_alone():
    sources = {"edges": [1, 1], "importance": [0.5, 0.5]}
    for chart, height in ((sources_chart(TOKENS, sources, "edges"), 40), (compare_chart(TOKENS[:1], SERIES), 36)):
        spec = chart.to_dict()
        assert (spec["height"], spec["autosize"]["type"]) == (height, "fit-x")


def every_chart(dark, texts=HOSTILE):
    """One chart of each sort, of hostile texts."""
    tokens = [{"text": text, "id": number, "full": 0.1, "trace": None} for number, text in enumerate(texts)]
    sources = {"edges": [1] * len(texts), "importance": [0.5] * len(texts)}
    return [
        compare_chart(tokens, SERIES, 0, dark),
        curve_chart(POINTS, 0.8, 0.3, True, dark),
        curve_chart(POINTS, 0.8, 0.3, False, dark),
        curve_chart([], 0.8, 0.0, True, dark),
        kinds_chart(MAKEUP, 0.3, dark),
        depths_chart(MAKEUP, 1e-9, dark),
        heads_chart(HEADS, "edges", dark),
        sources_chart(tokens, sources, "importance", dark),
    ]


@pytest.mark.parametrize("dark", [False, True])
def test_every_chart_draws(dark):
    for chart in every_chart(dark):
        drawing = vl_convert.vegalite_to_svg(chart.to_json())
        assert drawing.startswith("<svg")
        assert "<script" not in drawing and "\u202e" not in drawing
