"""What people are shown: every character can be seen, every cell carries its numbers, colours can be read."""

import csv
import io
import json

import pytest

from density.view import cells, mark_of, marked, percent, table, table_csv, visible

HOSTILE = [
    "<script>alert(1)</script>",
    "</textarea><img src=x onerror=alert(1)>",
    "\"quotes\" 'and' `ticks`",
    "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{ROCKET}",
    "\N{RIGHT-TO-LEFT OVERRIDE}abc\N{POP DIRECTIONAL FORMATTING}",
    "a\N{ZERO WIDTH SPACE}b\N{SOFT HYPHEN}c",
    "שלום עולם",
    "\x00\x07\x1b[31m",
    "=1+1",
]


def prediction(position, **changes):
    return {
        "position": position,
        "context_token": " of",
        "next_token": " France",
        "next_id": 7,
        "surprisal": 2.5,
        "entropy": 1.25,
        "top_tokens": [
            {"text": " France", "id": 7, "probability": 0.625},
            {"text": " the\n", "id": 5, "probability": 0.25},
        ],
        "edges_full": 4000,
        "edges_trace": 1000,
        "density": 0.25,
        "threshold": 0.001,
        "total_variation": 0.125,
        "below": {"size": 0.2, "total_variation": 0.3},
        "replays": 6,
        **changes,
    }


def document(texts, *predictions):
    tokens = [{"index": index, "id": 3 + index, "text": text} for index, text in enumerate(texts)]
    origin = {"schema": "density.profile/1", "model": "tiny", "revision": "r", "rule": "l1", "fidelity": 0.8}
    origin |= {"search": "lattice", "precision": "float32", "device": "cpu", "seed": 0, "versions": {"torch": "2.0"}}
    return {**origin, "text": "".join(texts), "tokens": tokens, "predictions": predictions}


@pytest.mark.parametrize("text", HOSTILE)
def test_marks_leave_every_character_in_its_place(text):
    assert "".join(piece for piece, _ in marked(text)) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", "⋯"),
        ("word", "word"),
        (" word", "·word"),
        ("two  words ", "two··words·"),
        ("a\n\tb\r", "a↵⇥b␍"),
        ("a\N{NO-BREAK SPACE}b", "aU+00A0b"),
        ("\N{ZERO WIDTH SPACE}", "U+200B"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}a", "U+202Ea"),
        ("\N{HANGUL FILLER}", "U+3164"),
        ("\ud800", "U+D800"),
        ("\x00", "U+0000"),
        ("<b>", "<b>"),
        ("שלום", "שלום"),
    ],
)
def test_what_has_no_shape_is_shown_by_a_mark(text, shown):
    assert visible(text) == shown


def test_a_single_space_inside_or_before_a_word_stays_a_space_in_the_text():
    assert marked(" two words") == [(" two words", None)]
    assert marked(" ") == [(" ", "·")]


def test_every_shapeless_character_has_a_mark_and_letters_have_none():
    assert all(mark_of(chr(code)) for code in (*range(32), 0x7F, 0x200E, 0x2028, 0x2066, 0xFEFF, 0xE0041))
    assert not any(mark_of(character) for character in "aé漢ש\N{ROCKET}\N{COMBINING ACUTE ACCENT}")


def test_a_cell_is_coloured_by_the_prediction_before_it():
    first, second, third = cells(document(["The", " of"], prediction(0), prediction(1, next_token=None)))
    assert (first["position"], first["found"]) == (-1, False)
    assert (second["position"], second["found"], second["pieces"]) == (0, True, [[" of", None]])
    assert (third["position"], third["following"], third["pieces"]) == (1, True, [[" France", None]])
    assert first["facts"] == [["density", "first token, nothing predicts it"]]


def test_a_cell_says_all_its_numbers():
    _, cell, _ = cells(document(["The", " of"], prediction(0)))
    assert cell["facts"] == [
        ["density", "25% (20% is not enough)"],
        ["total variation", "0.125"],
        ["entropy", "1.25 nats"],
        ["surprisal", "2.50 nats"],
    ]
    assert cell["top"] == [["·France", 0.625, "62.5%"], ["·the↵", 0.25, "25%"]]
    assert cell["label"].startswith("·of: density 25% (20% is not enough), total variation 0.125")


def test_without_a_smaller_trace_and_without_a_next_token_a_cell_says_so():
    *_, cell = cells(document(["The", " of"], prediction(1, next_token=None, surprisal=None, below=None)))
    assert [name for name, _ in cell["facts"]] == ["density", "total variation", "entropy"]
    assert cell["facts"][0] == ["density", "25% (nothing smaller exists)"]


def test_what_is_pending_and_what_was_not_asked_are_told_apart():
    empty = document(["a", "b", "c"])
    _, pending, asked_not, following = cells(empty, pending=[0])
    assert (pending["pending"], pending["facts"]) == (True, [["density", "not found yet"]])
    assert (asked_not["pending"], asked_not["facts"]) == (False, [["density", "not measured"]])
    assert (following["pieces"], following["label"]) == ([], "next: density not measured")
    assert pending["reason"].startswith("b: not found yet; choose it once")
    assert asked_not["reason"].startswith("c: not measured; ask for all predictions")


def test_a_found_prediction_is_pending_no_more():
    assert not any(
        cell["pending"] for cell in cells(document(["a", "b"], prediction(0), prediction(1)), pending=[0, 1])
    )


def test_lines_and_words_are_known_to_the_heatmap():
    shape = [(cell["breaks"], cell["starts"]) for cell in cells(document(["a", "\n\n", " b", "c"]))]
    assert shape[:4] == [(0, False), (2, True), (0, True), (0, False)]


@pytest.mark.parametrize("text", HOSTILE)
def test_the_table_holds_texts_that_can_be_read_back(text):
    row = table(document([text], prediction(0, context_token=text, next_token=None, below=None)))[0]
    assert json.loads(row["context_token"]) == text
    assert row["context_token"].startswith('"')
    assert (row["next_token"], row["below"]) == (None, None)


def test_the_csv_is_the_table_with_its_origin():
    shown = document(HOSTILE, *(prediction(at, context_token=text) for at, text in enumerate(HOSTILE)))
    rows = list(csv.DictReader(io.StringIO(table_csv(shown))))
    assert [json.loads(row["context_token"]) for row in rows] == HOSTILE
    assert {(row["model"], row["revision"], row["rule"], row["fidelity"]) for row in rows} == {
        ("tiny", "r", "l1", "0.8")
    }
    assert [float(row["density"]) for row in rows] == [row["density"] for row in table(shown)]


def test_the_csv_says_which_versions_made_it_and_the_areas_of_a_sweep():
    swept = document(["a"], prediction(0, auc_linear=0.25, auc_log10=0.5))
    (row,) = csv.DictReader(io.StringIO(table_csv({**swept, "search": "sweep"})))
    assert (row["auc_linear"], row["auc_log10"]) == ("0.25", "0.5")
    assert (row["schema"], row["rule"], row["torch_version"]) == ("density.profile/1", "l1", "2.0")
    assert "auc_linear" not in table(swept)[0]


def test_no_predictions_make_no_csv():
    assert table_csv(document(["a"])) == ""


def test_percent_has_three_figures():
    assert [percent(share) for share in (0, 0.000123, 0.12345, 1)] == ["0%", "0.0123%", "12.3%", "100%"]
