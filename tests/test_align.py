"""Tokens of different tokenizers in one text, and of one tokenizer in two texts, laid out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from density.align import NotAligned, Placed, Unit, pairs, pieces, place, words

# An emoji, a combining accent (characters 6 and 12) and two spaces.
TEXT = "naïve 😀 cafe\u0301  no"
# As a byte-level tokenizer has it: the emoji's and the accent's first bytes add nothing to the decoded text.
BYTES = ["na", "ïve", " ", "", "😀", " ca", "fe", "", "\u0301", " ", " no"]
# As one with a token for the beginning and whole characters has it.
WHOLE = ["<bos>", "na", "ï", "ve", " 😀", " cafe", "\u0301", "  ", "no"]


def test_tokens_begin_at_their_first_letter():
    # 0 na 2 ïve | the space at 5 begins with the emoji at 6, as do its other bytes | 8 ca 10 fe 12 accent 12 | 15 no
    assert place(BYTES, TEXT, "bytes") == Placed(0, (0, 2, 6, 6, 6, 8, 10, 12, 12, 15, 15))


def test_what_a_tokenizer_adds_has_no_place():
    assert place(WHOLE, TEXT, "whole") == Placed(1, (0, 2, 3, 6, 8, 12, 15, 15))
    assert place(["<bos>", "no", "<eos>"], "no", "ends") == Placed(1, (0,))


def test_words_have_the_tokens_of_each_reading():
    assert words(TEXT, [place(BYTES, TEXT, "bytes"), place(WHOLE, TEXT, "whole")]) == [
        Unit("naïve", ((0, 1), (1, 2, 3))),
        Unit("😀", ((2, 3, 4), (4,))),
        Unit("cafe\u0301", ((5, 6, 7, 8), (5, 6))),
        Unit("no", ((9, 10), (7, 8))),
    ]


def test_pieces_are_as_short_as_every_reading_allows():
    found = pieces(TEXT, [place(BYTES, TEXT, "bytes"), place(WHOLE, TEXT, "whole")])
    assert [unit.text for unit in found] == ["na", "ïve", "😀", "cafe", "\u0301", "no"]
    assert found[1] == Unit("ïve", ((1,), (2, 3)))
    assert found[3].tokens == ((5, 6), (5,))


def test_words_that_a_token_spans_are_one():
    text = "in spite of it"
    apart, together = place(["in", " spite", " of", " it"], text, "a"), place(["in spite of", " it"], text, "b")
    assert words(text, [apart, together]) == [Unit("in spite of", ((0, 1, 2), (0,))), Unit("it", ((3,), (1,)))]


def test_spaces_at_the_ends_may_come_and_go():
    assert place(["hello", " you"], "  hello you ", "strips") == Placed(0, (2, 8))
    assert place([" hello", " you"], "hello you", "adds") == Placed(0, (0, 6))
    assert place(["\n", "hi"], "\nhi", "keeps") == Placed(1, (1,))


def test_a_text_without_spaces_is_one_word_of_many_pieces():
    text = "日本語"
    readings = [place(["日", "", "本", "語"], text, "a"), place(["日本", "語"], text, "b")]
    assert [unit.text for unit in words(text, readings)] == [text]
    assert [unit.text for unit in pieces(text, readings)] == ["日本", "語"]


def test_a_tokenizer_that_changes_the_text_is_refused_with_the_place():
    with pytest.raises(NotAligned, match=r"small cannot be aligned.*at character 4 it reads 'paris' where 'Paris'"):
        place(["in", "  ", "paris"], "in  Paris", "small")
    with pytest.raises(NotAligned, match="at character 0 it reads '<unk>' where 'é'"):
        place(["<unk>"], "é", "knows little")


@given(st.text(min_size=1).filter(str.strip), st.data())
def test_every_token_of_a_text_is_in_one_unit_in_order(text, data):
    """Any two ways to cut any text."""
    readings = []
    for name in ("one", "other"):
        cuts = sorted(data.draw(st.sets(st.integers(1, max(len(text) - 1, 1)))) - {len(text)})
        texts = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        readings.append((place(texts, text, name), texts))
    for made in (words, pieces):
        units = made(text, [reading for reading, _ in readings])
        for number, (reading, texts) in enumerate(readings):
            found = [index for unit in units for index in unit.tokens[number]]
            last = len(text.rstrip())
            lengths = [sum(map(len, texts[:index])) for index in range(len(texts))]
            of_text = [index for index in range(reading.first, len(texts)) if lengths[index] < last]
            assert found == of_text
        assert "".join("".join(unit.text.split()) for unit in units) == "".join(text.split())


def test_pairs_are_the_same_tokens_in_the_same_order():
    # the boy read wept | the boy who was read wept
    assert pairs([1, 2, 5, 6], [1, 2, 3, 4, 5, 6]) == [(0, 0), (1, 1), (2, 4), (3, 5)]
    assert pairs([1, 2], [3, 4]) == []
    # No token is passed over for being common.
    assert len(pairs([7] * 300, [7] * 300)) == 300
