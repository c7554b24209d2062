"""Words and texts by several models, and two texts token by token: by hand."""

import pytest

from density.agreement import agreements, both, by_token, shared_rows, shared_texts, shared_words, units_of, whole_text
from density.align import place, words
from density.colours import KIND_COLOURS, RUN_COLOURS, SCALE, contrast, ink, luminance
from density.compare_charts import against_chart
from density.measures import NATS_SCALE, ZIPF_SCALE
from density.tiles import DIFFERENCE_SCALE, difference_legend, difference_place, differences, points, targets


def document(model, text, tokens, densities, search="lattice"):
    """A profile with these densities of predicting its tokens from the second on, and one of what comes next."""
    predictions = [
        {"position": at, "density": value, "entropy": 1.0, "surprisal": 2.0, "top_tokens": [], "below": None}
        for at, value in enumerate([*densities, 0.99])
    ]
    made = [{"index": index, "id": len(token) * 7 + index, "text": token} for index, token in enumerate(tokens)]
    return {"model": model, "text": text, "tokens": made, "predictions": predictions, "search": search}


ONE = document("one", "a cat sat", ["a", " c", "at", " sat"], [0.2, 0.4, 0.8])
OTHER = document("other", "a cat sat", ["<b>", "a", " cat", " s", "at"], [0.1, 0.5, 0.3, 0.7])


def test_a_density_belongs_to_the_token_that_is_predicted():
    # The first token has none, and what comes next is no token of the text.
    assert by_token(ONE) == {1: 0.2, 2: 0.4, 3: 0.8}
    # (0.2 + 0.4 + 0.8) / 3
    assert whole_text(ONE) == pytest.approx(1.4 / 3)
    assert whole_text(document("m", "a", ["a"], [])) is None


def test_a_word_has_the_mean_of_its_tokens_in_each_model():
    found = shared_words([ONE, OTHER])
    assert [unit.name for unit in found] == ["a", "cat", "sat"]
    # a: not predicted, 0.1 | cat: (0.2 + 0.4) / 2, 0.5 | sat: 0.8, (0.3 + 0.7) / 2
    assert found[0].values == (None, 0.1)
    assert found[1].values == pytest.approx((0.3, 0.5))
    assert found[2].values == pytest.approx((0.8, 0.5))
    assert [unit.name for unit, _, _ in both(found, 0, 1)] == ["cat", "sat"]


def test_every_token_is_in_one_unit_of_the_heatmap():
    readings = [place([token["text"] for token in one["tokens"]], one["text"], one["model"]) for one in (ONE, OTHER)]
    units = words("a cat sat", readings)
    assert units_of(ONE, units, 0) == [[0], [1, 2], [3]]
    assert units_of(OTHER, units, 1) == [[0], [1], [2], [3, 4]]


def row(text, model, density, *, position=0, added=0, pair=None):
    return {
        **{"text_id": text, "model": model, "density": density},
        **{"position": position, "added": added, "pair": pair},
    }


def test_texts_and_rows_are_joined():
    (only,) = shared_texts([[ONE, None]])
    assert only.values == (pytest.approx(1.4 / 3), None)
    found = shared_rows(
        [
            *(row("x", "m", 0.2, position=1), row("x", "m", 0.4, position=2), row("x", "n", None)),
            *(row("y", "m", 0.6), row("y", "n", 0.5)),
        ],
        ["m", "n"],
    )
    assert [(unit.name, unit.values) for unit in found] == [("x", (pytest.approx(0.3), None)), ("y", (0.6, 0.5))]


def test_predictions_of_no_text_are_in_no_mean():
    rows = [row("x", "m", 0.9, position=0, added=1), *(row("x", name, 0.2, position=1, added=1) for name in "mn")]
    (only,) = shared_rows(rows, ["m", "n"])
    assert only.values == (0.2, 0.2)


def test_the_halves_of_a_minimal_pair_are_drawn_together():
    rows = [row(f"{number}", name, number / 24, pair=f"p{number // 2}") for number in range(22) for name in "mn"]
    (found,) = agreements(shared_rows(rows, ["m", "n"]))
    assert (found.rho.n, found.rho.groups) == (22, 11)


def test_models_that_order_words_alike_agree():
    text = "a b c d e f g"
    one = document("one", text, ["a", " b", " c", " d", " e", " f", " g"], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    other = document("other", text, ["a", " b", " c", " d", " e", " f", " g"], [0.11, 0.3, 0.31, 0.5, 0.7, 0.9])
    against = document("third", text, ["a", " b", " c", " d", " e", " f", " g"], [0.9, 0.8, 0.7, 0.3, 0.2, 0.1])
    found = agreements(shared_words([one, other, against]))
    assert [(pair.one, pair.other, round(pair.rho.value, 9), pair.rho.n) for pair in found] == [
        (0, 1, 1, 6),
        (0, 2, -1, 6),
        (1, 2, -1, 6),
    ]
    assert agreements([]) == []


def test_intervals_draw_whole_texts_where_there_are_several():
    words_of = [unit for number in range(5) for unit in shared_words([ONE, OTHER], text=number)]
    (pair,) = agreements(words_of)
    assert (pair.rho.n, pair.rho.groups) == (10, 5)


def test_differences_are_of_aligned_tokens_second_less_first():
    first = document("m", "the boy wept", ["the", " boy", " wept"], [0.5, 0.6])
    second = document("m", "the boy he wept", ["the", " boy", " he", " wept"], [0.5, 0.2, 0.9])
    aligned = [(0, 0), (1, 1), (2, 3)]
    here, there = (differences(first, second, aligned, second=which) for which in (False, True))
    # 0.9 - 0.6 on a scale from -0.4 to 0.4; the first token is not predicted; "he" has no counterpart.
    assert [cell["share"] for cell in here] == [None, 0.5, pytest.approx((0.3 / 0.4 + 1) / 2)]
    assert [cell["share"] for cell in there] == [None, 0.5, None, here[2]["share"]]
    assert ["second less first", "+30.0 points"] in there[3]["facts"]
    assert "no counterpart" in there[2]["reason"]
    assert there[0]["reason"] == ""


def test_differences_have_a_scale_of_their_own():
    others = {*SCALE, *NATS_SCALE, *ZIPF_SCALE, *RUN_COLOURS.values(), *KIND_COLOURS.values()}
    assert not others & set(DIFFERENCE_SCALE)
    lightness = [luminance(colour) for colour in DIFFERENCE_SCALE]
    middle = len(lightness) // 2
    assert lightness[: middle + 1] == sorted(lightness[: middle + 1])
    assert lightness[middle:] == sorted(lightness[middle:], reverse=True)
    assert all(contrast(colour, ink(colour)) >= 4.5 for colour in DIFFERENCE_SCALE)
    assert (difference_place(-9), difference_place(0), difference_place(9)) == (0, 0.5, 1)
    assert points(-0.1234) == "-12.3 points"
    legend = difference_legend("x")
    assert [place for place, _ in legend["ticks"]] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert legend["ticks"][2][1] == "0"


def test_a_target_has_context():
    top = [{"text": " b", "id": 5, "probability": 0.5}]
    predictions = [{"position": at, "entropy": 1.5, "surprisal": 3.0, "top_tokens": top} for at in range(3)]
    predictions[-1]["surprisal"] = None
    tokens = [{"index": index, "id": index, "text": text} for index, text in enumerate(["<b>", "a", " b"])]
    made = targets({"added": 1, "tokens": tokens, "predictions": predictions})
    # Neither the token before the text nor the text's first has any of it before it.
    assert [cell["found"] for cell in made] == [False, False, True, True]
    assert "no context" in made[1]["reason"]
    assert made[2]["share"] == pytest.approx(3 / 12)
    assert (made[3]["following"], made[3]["position"]) == (True, 2)
    bare = targets({"added": 0, "tokens": tokens, "predictions": predictions})
    assert [cell["found"] for cell in bare] == [False, True, True, True]


def test_points_are_of_what_both_have():
    chart = against_chart(shared_words([ONE, OTHER]), 0, 1, ["one", "other"]).to_dict()
    (drawn,) = [layer["data"]["values"] for layer in chart["layer"] if "name" in layer["data"]["values"][0]]
    assert [(row["name"], row["one"], row["other"]) for row in drawn] == [
        ("cat", pytest.approx(0.3), 0.5),
        ("sat", 0.8, 0.5),
    ]
