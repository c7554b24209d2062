"""Unigram probabilities of tokens: by hand on toy tokenizers, sums, capitals, what is not told, and what is kept."""

import json
import math
import threading

import numpy as np
import pytest
import wordfreq
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from density import frequency
from density.errors import BadInput, Cancelled, UnsupportedModel
from density.frequency import frequencies, parse_languages
from density.unigrams import count, cut
from tests.tiny import Letters

PATIENCE = 60
MERGED = ["Ġc", "Ġca", "Ġcat", "at", "ĠC", "ĠCa", "ĠCat", "ĠA", "ĠAt", "TS"]
WORDS = {"cat": 0.4, "cats": 0.2, "at": 0.1, "00": 0.2, "c4": 0.05, "👶": 0.05}
# " cat" is Ġcat; " cats" is Ġcat s; " at" is Ġ at, and the space has no letter: 0.6 + 0.2 + 0.1.
TOTAL = 0.9


def byte_level() -> Tokenizer:
    """A byte-level BPE whose merges are written by hand."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: number for number, piece in enumerate(["<end>", *alphabet, *MERGED])}
    merges = [("Ġ", "c"), ("Ġc", "a"), ("Ġca", "t"), ("a", "t"), ("Ġ", "C"), ("ĠC", "a"), ("ĠCa", "t"), ("Ġ", "A")]
    tokenizer = Tokenizer(models.BPE(vocabulary, [*merges, ("ĠA", "t"), ("T", "S")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def with_marks(scheme: str) -> Tokenizer:
    """Pieces that carry their space as a mark, as SentencePiece has them."""
    pieces = ["<unk>", "\n", "▁", "▁cat", "▁Cat", "s", "a", "t", "c"]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0 - index / 10) for index, piece in enumerate(pieces)], 0, False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme, split=False)
    return tokenizer


@pytest.fixture
def toy(own_home, monkeypatch):
    """The byte-level tokenizer, and a language of six words."""
    monkeypatch.setattr(wordfreq, "get_frequency_dict", lambda language, wordlist: WORDS)
    monkeypatch.setattr(frequency, "_tables", frequency.Recent(2))
    return byte_level()


def test_a_words_frequency_goes_to_each_of_its_tokens(toy):
    found = frequencies(toy)
    for piece, share in (("Ġcat", 0.6), ("s", 0.2), ("at", 0.1)):
        assert found.probability(toy.token_to_id(piece)) == pytest.approx(share / TOTAL)
        assert found.kind(toy.token_to_id(piece)) == frequency.LISTED
    assert found.table.listed.sum() == pytest.approx(1)
    assert found.zipf(toy.token_to_id("Ġcat")) == pytest.approx(9 + math.log10(0.6 / 0.9))


def test_a_capital_takes_its_lower_case_token_or_word_and_nothing_else_is_made_up(toy):
    found = frequencies(toy)
    assert found.probability(toy.token_to_id("ĠCat")) == pytest.approx(0.6 / TOTAL)
    # " at" is no token, but it is a word.
    assert found.probability(toy.token_to_id("ĠAt")) == pytest.approx(0.1 / TOTAL)
    assert found.kind(toy.token_to_id("ĠAt")) == frequency.LOWERED
    # No beginning of a word, or of no word that is listed; punctuation, a digit, a space, a special token.
    for piece in ("TS", "ĠA", "ĠC", ".", "4", "Ġ", "<end>"):
        token = toy.token_to_id(piece)
        assert (found.probability(token), found.zipf(token), found.kind(token)) == (None, None, None)
    assert found.probability(-1) is None and found.probability(10_000) is None


def test_what_is_covered_and_what_is_left_out_is_said(toy):
    found = frequencies(toy)
    # Ġcat, s, at; ĠCat, ĠAt.
    assert found.covered == pytest.approx(5 / (1 + 256 + len(MERGED)))
    # The numbers and the emoji: 0.2 + 0.05 + 0.05.
    assert found.table.left_out == pytest.approx(0.3)


@pytest.mark.parametrize("scheme", ["always", "first", "never"])
def test_a_word_is_cut_as_it_is_inside_a_text_however_a_text_begins(scheme):
    tokenizer = with_marks(scheme)
    assert list(cut(tokenizer, [" cat", " cats"])) == [[3], [3, 5]]
    table = count(tokenizer, {"cat": 0.75, "cats": 0.25}, "en")
    assert table.listed[[3, 5]] == pytest.approx([0.8, 0.2])
    assert table.lowered[4] == pytest.approx(0.8)


def test_a_language_without_spaces_is_cut_without_them():
    tokenizer = byte_level()
    table = count(tokenizer, {"at": 1.0}, "zh")
    assert table.listed[tokenizer.token_to_id("at")] == 1


def test_bytes_of_a_letter_count_as_letters():
    tokenizer = byte_level()
    table = count(tokenizer, {"é": 1.0}, "fr")
    assert sorted(table.listed[table.listed > 0]) == [0.5, 0.5]


def test_words_that_the_tokenizer_cannot_read_are_refused():
    with pytest.raises(BadInput, match="reads none of the words of language 'en'"):
        count(byte_level(), {"00": 1.0}, "en")


def test_languages_are_mixed_by_their_weights(own_home, monkeypatch):
    lists = {"en": {"cat": 1.0}, "de": {"at": 1.0}}
    monkeypatch.setattr(wordfreq, "get_frequency_dict", lambda language, wordlist: lists[language])
    monkeypatch.setattr(frequency, "_tables", frequency.Recent(2))
    tokenizer = byte_level()
    found = frequencies(tokenizer, "en:3,de:1")
    assert found.languages == {"en": 0.75, "de": 0.25}
    assert found.probability(tokenizer.token_to_id("Ġcat")) == pytest.approx(0.75)
    assert found.probability(tokenizer.token_to_id("at")) == pytest.approx(0.25)
    assert found.table.listed.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("xx", "no list of words for language 'xx'; choose from ar, bg"),
        ("en de", "'en de' is no language"),
        ("", "'' is no language"),
        ("en:0", "weight 0.0; a weight is a positive number"),
        ("en:1.2.3", "'1.2.3' is no weight"),
        ({"en": math.nan}, "a weight is a positive number"),
        ({}, "no language was named"),
        ("en,de,fr,es,it,nl,pl,pt,ru", "9 languages were named; 8 are mixed at most"),
    ],
)
def test_a_wrong_language_is_refused(given, said):
    with pytest.raises(BadInput, match=said):
        parse_languages(given)


def test_a_tokenizer_that_cannot_be_counted_with_is_refused():
    with pytest.raises(UnsupportedModel, match="this is a Letters"):
        frequencies(Letters())


def test_what_was_counted_is_kept_on_disk_and_counted_anew_when_it_is_damaged(toy, own_home, monkeypatch):
    first = frequencies(toy)
    (path,) = (own_home / "frequencies").iterdir()
    assert path.name.startswith("en-") and path.suffix == ".npz"
    counted = []
    monkeypatch.setattr(frequency, "count", lambda *given: counted.append(given) or count(*given))
    frequencies(toy)
    frequency._tables = frequency.Recent(2)
    assert np.array_equal(frequencies(toy).table.listed, first.table.listed)
    assert not counted
    for damage in (b"", path.read_bytes()[:200], b"no archive"):
        path.write_bytes(damage)
        frequency._tables = frequency.Recent(2)
        assert np.array_equal(frequencies(toy).table.lowered, first.table.lowered)
    assert len(counted) == 3
    frequency._tables = frequency.Recent(2)
    frequencies(toy)
    assert len(counted) == 3


def test_a_cache_folder_that_cannot_be_written_to_is_passed_by(toy, own_home, caplog):
    own_home.write_text("a file")
    assert frequencies(toy).probability(toy.token_to_id("Ġcat")) == pytest.approx(0.6 / TOTAL)
    assert "frequencies are not kept" in caplog.text


def test_counting_rests_between_batches_and_can_be_stopped(toy, own_home, monkeypatch):
    def stop():
        raise Cancelled("stopped.")

    monkeypatch.setattr("density.unigrams.BATCH", 2)
    rests = []
    with pytest.raises(Cancelled):
        frequencies(toy, check=stop)
    assert not own_home.exists()
    frequencies(toy, check=lambda: rests.append(1))
    assert len(rests) == 2


def test_who_rests_while_counting_keeps_nobody_from_resting(toy):
    counting, let = threading.Event(), threading.Event()

    def rest():
        counting.set()
        assert let.wait(PATIENCE)

    first = threading.Thread(target=frequencies, args=(toy,), kwargs={"check": rest})
    first.start()
    assert counting.wait(PATIENCE)
    # The turn is another's now, who wants the same: it rests, until the first has counted.
    assert frequencies(byte_level(), check=let.set).covered > 0
    first.join(PATIENCE)


def test_a_read_only_server_writes_no_frequencies(toy, own_home):
    assert frequencies(toy, read_only=True).covered > 0
    assert not own_home.exists()


def test_another_tokenizer_is_counted_on_its_own(toy):
    other = json.loads(toy.to_str())
    other["model"]["merges"] = []
    found = frequencies(Tokenizer.from_str(json.dumps(other)))
    assert found.probability(toy.token_to_id("Ġcat")) is None
    assert found.probability(toy.token_to_id("c")) is not None
    assert frequencies(toy).probability(toy.token_to_id("Ġcat")) is not None


@pytest.mark.real_model
@pytest.mark.slow
def test_the_commonest_english_words_are_the_commonest_tokens(smollm2, gemma3):
    for model in (smollm2, gemma3):
        found = frequencies(model.tokenizer)
        assert found.table.listed.sum() == pytest.approx(1)
        texts = [" the", " of", " said", " zinc"]
        ids = [model.tokenizer(f"A{text}", add_special_tokens=False)["input_ids"][1] for text in texts]
        values = [found.zipf(token) for token in ids]
        assert values == sorted(values, reverse=True) and 7.5 < values[0] < 8
        # As words, give or take what pieces add: wordfreq's own Zipf values are per word, ours per token.
        for text, value in zip(texts, values, strict=True):
            assert value == pytest.approx(wordfreq.zipf_frequency(text.strip(), "en"), abs=0.6)
