"""What tokens are tinted by: three scales that cannot be mistaken for each other, and means by word and by sentence."""

import math
from itertools import pairwise

import pytest

from density.colours import CAME_COLOUR, KIND_COLOURS, RUN_COLOURS, SCALE, blend, channels, contrast, ink, tint
from density.measures import MEASURES, MOST_NATS, MOST_ZIPF, NATS_SCALE, UNITS, ZIPF_SCALE, tinted, units
from tests.test_charts import lightness
from tests.test_view import HOSTILE, document, prediction


def joined(texts, unit):
    """The units of ``texts``, as texts."""
    return ["".join(texts[index] for index in group) for group in units(texts, unit)]


def test_a_word_begins_at_a_space_and_keeps_its_punctuation():
    texts = ["The", " unbeliev", "ably", " old", " man", ",", "\n", "he", " said", "."]
    assert joined(texts, "word") == ["The", " unbelievably", " old", " man,", "\nhe", " said."]
    assert joined(texts, "token") == texts


def test_a_piece_of_a_character_belongs_to_the_word_of_that_character():
    assert units(["so", " ", "", "🙂", "!", " ", ""], "word") == [[0], [1, 2, 3, 4, 5, 6]]
    assert units(["", "", "é", " x"], "word") == [[0, 1, 2], [3]]
    assert units([" ", ""], "word") == [[0, 1]]


@pytest.mark.parametrize(
    ("texts", "sentences"),
    [
        (["He", " left", ".", " She", " stayed", "!"], ["He left.", " She stayed!"]),
        (["“", "Go", ".”", " He", " went"], ["“Go.”", " He went"]),
        (["Go", ".", '"', " He"], ['Go."', " He"]),
        (["3", ".", "14", " is", " pi"], ["3.14 is pi"]),
        (["a", " line", "\n", "another"], ["a line", "\nanother"]),
        (["\n", "first"], ["\nfirst"]),
        (["月亮", "。", "村庄"], ["月亮。", "村庄"]),
        (["What", "?", " ", "Yes"], ["What?", " Yes"]),
        ([], []),
    ],
)
def test_a_sentence_ends_at_its_sign_or_at_a_line_break(texts, sentences):
    assert joined(texts, "sentence") == sentences


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("text", HOSTILE)
def test_every_token_is_in_one_unit(unit, text):
    texts = list(text)
    assert [index for group in units(texts, unit) for index in group] == list(range(len(texts)))


def test_a_word_has_the_mean_over_its_tokens_and_says_so():
    shown = document(["The", " un", "kind"], prediction(0, density=0.25), prediction(1, density=0.75))
    first, second, third, following = tinted(shown, unit="word")
    assert (first["share"], second["share"], third["share"], following["share"]) == (None, 0.5, 0.5, None)
    assert second["facts"][0] == ["density", "25% (20% is not enough)"]
    assert second["facts"][-1] == ["density of its word, mean of 2", "50%"]
    assert second["label"].endswith("density of its word, mean of 2 50%")
    assert [(cell["joined"], cell["continued"]) for cell in (first, second, third)] == [
        (False, False),
        (False, True),
        (True, False),
    ]


def test_a_word_waits_for_the_last_of_its_tokens_though_the_others_can_be_chosen():
    shown = document(["The", " un", "kind"], prediction(0))
    _, second, third, _ = tinted(shown, pending=[0, 1], unit="word")
    assert (second["found"], second["waiting"], second["tint"]) == (True, True, None)
    assert (third["found"], third["pending"], third["waiting"]) == (False, True, True)


def test_what_was_not_asked_is_left_out_of_a_mean():
    shown = document(["The", " un", "kind"], prediction(1, density=0.75))
    assert [cell["share"] for cell in tinted(shown, unit="word")] == [None, 0.75, 0.75, None]


def test_by_token_a_cell_has_its_own_value_and_no_mean():
    shown = document(["The", " of"], prediction(0, entropy=3.0), prediction(1, surprisal=None))
    _, cell, following = tinted(shown, measure="entropy")
    assert (cell["share"], len(cell["facts"])) == (0.25, 4)
    assert following["found"] and following["tint"] is not None
    assert tinted(shown, measure="surprisal")[-1]["tint"] is None


def test_the_areas_of_a_sweep_are_shown_and_tinted():
    swept = prediction(0, auc_linear=0.5, auc_log10=0.75)
    _, cell, _ = tinted(document(["The", " of"], swept), measure="auc_log10")
    assert (cell["share"], cell["tint"]) == (0.75, tint(0.75))
    assert ["AUC-TV", "50%"] in cell["facts"] and ["AUC-TV, log size", "75%"] in cell["facts"]
    assert tinted(document(["The", " of"], prediction(0)), measure="auc_linear")[1]["tint"] is None


def test_nats_beyond_the_scale_are_held_and_shares_stay_shares():
    nats, share = MEASURES["surprisal"], MEASURES["density"]
    assert (nats.place(6.0), nats.place(40.0)) == (0.5, 1.0)
    assert (nats.colour(0.0), nats.colour(MOST_NATS)) == (NATS_SCALE[0], NATS_SCALE[-1])
    assert (share.colour(1.0), share.shown(0.25), nats.shown(2.5)) == (SCALE[-1], "25%", "2.50 nats")


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_a_legend_spans_its_scale(measure):
    shown = measure.legend()
    top = measure.scale.most
    assert shown["title"] == measure.title
    assert (shown["colours"][0], shown["colours"][-1]) == (measure.colour(0.0), measure.colour(top))
    assert [place for place, _ in shown["ticks"]] == [0, 0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize("scale", [NATS_SCALE, ZIPF_SCALE[::-1]], ids=["nats", "rarer"])
def test_a_scale_of_one_hue_darkens_evenly_and_can_be_written_on(scale):
    colours = [blend(scale, step / 200) for step in range(201)]
    steps = [lightness(colour) for colour in colours]
    line = [steps[0] + (steps[-1] - steps[0]) * step / 200 for step in range(201)]
    assert max(abs(found - wanted) for found, wanted in zip(steps, line, strict=True)) < 3
    assert all(later < earlier for earlier, later in pairwise(steps[::4]))
    assert min(contrast(ink(colour), colour) for colour in colours) > math.sqrt(21) - 1e-9


def test_no_colour_of_one_scale_is_near_one_of_another_or_means_something_in_a_chart():
    shares, nats, zipf = (
        [channels(blend(scale, step / 50)) for step in range(51)] for scale in (SCALE, NATS_SCALE, ZIPF_SCALE)
    )
    meant = [channels(colour) for colour in (*RUN_COLOURS.values(), *KIND_COLOURS.values(), CAME_COLOUR)]
    for one, other in ((shares, nats), (shares, zipf), (nats, zipf), (meant, zipf)):
        assert min(math.dist(first, second) for first in one for second in other) > 40


def test_a_frequency_is_of_the_token_and_needs_no_prediction():
    shown = document(["The", " un", "kind"], prediction(2))
    shown["tokens"] = [{**token, "id": number} for number, token in zip((5, 6, 7), shown["tokens"], strict=True)]
    shown["predictions"][0]["top_tokens"] = [{"text": " of", "id": 9, "probability": 0.5}]
    zipf = {5: 6.0, 6: None, 7: 2.0, 9: 12.0}
    cells = tinted(shown, [0, 1], "frequency", zipf=zipf)
    assert [cell["share"] for cell in cells] == [0.75, None, 0.25, 1.0]
    assert not any(cell["waiting"] for cell in cells)
    assert [cell["facts"][-1] for cell in cells] == [
        ["frequency", "6.00 Zipf"],
        ["frequency", "not covered"],
        ["frequency", "2.00 Zipf"],
        ["frequency", "12.00 Zipf"],
    ]
    assert cells[1]["label"].endswith("frequency not covered")
    # The mean of a word is over the tokens that have a frequency.
    by_word = tinted(shown, [0, 1], "frequency", "word", zipf=zipf)
    assert [cell["share"] for cell in by_word] == [0.75, 0.25, 0.25, 1.0]
    assert by_word[1]["facts"][-1] == ["frequency of its word, mean of 1", "2.00 Zipf"]


def test_until_frequencies_are_known_nothing_is_tinted_by_them():
    cells = tinted(document(["The", " of"], prediction(0), prediction(1)), measure="frequency")
    assert [cell["tint"] for cell in cells] == [None, None, None]
    assert all("frequency" not in cell["label"] for cell in cells)


def test_rarer_is_darker_and_the_range_is_fixed():
    frequency = MEASURES["frequency"]
    assert (frequency.colour(0.0), frequency.colour(MOST_ZIPF)) == (ZIPF_SCALE[0], ZIPF_SCALE[-1])
    assert (frequency.place(4.0), frequency.place(-1.0), frequency.place(9.0)) == (0.5, 0.0, 1.0)
    assert lightness(frequency.colour(1.0)) < lightness(frequency.colour(7.0))
