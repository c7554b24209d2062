"""A text as it is read: what each token adds to it, and how surprising it was."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from density.errors import BadInput
from density.profile import profile
from density.reading import read, split_text, token_text
from tests.conftest import byte_level_tokenizer
from tests.tiny import Letters, lettered


def texts(tokenizer, ids):
    return [token.text for token in split_text(tokenizer, ids)]


@pytest.fixture(scope="module")
def bytes_of():
    return byte_level_tokenizer()


@pytest.mark.parametrize("text", ["x\ufffd\ufffdy", "\ufffd", "a\ufffd日\ufffd", "日本", "🙂x🙂"])
def test_what_the_tokens_add_is_the_text(bytes_of, text):
    found = texts(bytes_of, bytes_of(text)["input_ids"])
    assert "".join(found) == text
    assert [part for part in found if part] == list(text)


def test_a_whole_replacement_character_is_of_the_token_that_is_it():
    tokenizer = Letters()
    tokenizer.decode = lambda ids, **_: "".join("\ufffd" if token == 3 else "y" for token in ids)
    assert texts(tokenizer, [4, 3, 3, 4]) == ["y", "\ufffd", "\ufffd", "y"]


def test_half_a_character_belongs_to_the_token_that_completes_it_or_is_shown_as_half(bytes_of):
    ids = bytes_of("é")["input_ids"]
    assert len(ids) == 2
    assert texts(bytes_of, ids) == ["", "é"]
    assert texts(bytes_of, [*ids, ids[0]]) == ["", "é", "\ufffd"]
    assert token_text(bytes_of, ids[0]) == token_text(bytes_of, ids[1]) == "\ufffd"


def test_a_token_alone_keeps_the_space_that_a_text_may_not_begin_with():
    vocab = {"a": 0, "▁a": 1, "▁": 2, "b": 3}
    tokenizer = Tokenizer(models.BPE(vocab, []))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    assert wrapped.decode([1]) == "a"
    assert [token_text(wrapped, token) for token in vocab.values()] == ["a", " a", " ", "b"]
    assert texts(wrapped, [1, 3, 1]) == ["a", "b", " a"]


def test_a_text_of_which_the_tokenizer_makes_nothing_is_refused(monkeypatch):
    model = lettered()
    monkeypatch.setattr(Letters, "__call__", lambda self, text, **_: {"input_ids": []})
    with pytest.raises(BadInput, match="the tokenizer makes no token of this text"):
        read(model, "éé")


def test_surprisals_are_those_of_the_models_own_distribution():
    reading = read(lettered(), "the cat sat on a mat")
    rows, ids = reading.full_probabilities(range(20)), reading.ids.tolist()
    expected = [-float(row[token].log()) for row, token in zip(rows[:-1], ids[1:], strict=True)]
    *found, last = [prediction.surprisal for prediction in profile_in_order(reading)]
    assert found == pytest.approx(expected) and last is None


def profile_in_order(reading):
    return sorted(profile(reading), key=lambda prediction: prediction.position)


def test_a_token_too_unlikely_to_have_a_probability_has_a_finite_surprisal():
    model = lettered()
    model.decoder.model.lm_head.weight.data *= 1e4
    reading = read(model, "the cat")
    assert (reading.full_probabilities([0, 1, 2]) == 0).any()
    found = [prediction.surprisal for prediction in profile(reading, positions="0,1,2")]
    assert max(found) > 745 and torch.isfinite(torch.tensor(found)).all()
