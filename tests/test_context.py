"""A prediction with its context growing: the same ids, fewer of them; by hand, and against plain readings."""

import json
from dataclasses import replace

import pytest

from density import context
from density.errors import BadInput
from density.lengths import FEWEST_PREDICTIONS, by_length, measured, not_drawn, per_text
from density.profile import profile
from density.reading import read, read_ids
from density.serving import contexts
from density.serving.jobs import Status
from density.serving.question import Question
from tests.tiny import Letters, lettered

TEXT = "abc de fgh. Ijk lm no."


class Begun(Letters):
    """Letters with a token before every text, as Gemma's tokenizer has one."""

    def __call__(self, text, **options):
        return {"input_ids": [1, *super().__call__(text, **options)["input_ids"]]}


def begun():
    """A model whose tokenizer puts a token before every text."""
    return replace(lettered(), tokenizer=Begun())


@pytest.fixture(scope="module")
def reading():
    return read(lettered(), TEXT)


def test_lengths_double_up_to_all_there_is():
    assert context.doubling(1) == [1]
    assert context.doubling(2) == [1, 2]
    assert context.doubling(8) == [1, 2, 4, 8]
    assert context.doubling(11) == [1, 2, 4, 8, 11]


def test_lengths_go_back_sentence_by_sentence():
    # Sentences begin at tokens 0, 3 and 5; the one predicted is token 7, and sees 7.
    texts = ["One", " two", ".", " Three", ".", " Four", " five", " six"]
    assert context.by_sentences(texts, 7) == [2, 4, 7]
    # The one predicted begins a sentence: its own holds nothing yet.
    assert context.by_sentences(texts[:6], 5) == [2, 5]
    assert context.by_sentences(["One"], 1) == [1]


def test_the_lengths_of_a_reading_end_at_its_whole_context(reading):
    assert context.lengths(reading, 9, "token") == [1, 2, 4, 8, 10]
    # The second sentence begins at the space before the I, token 11, and the prediction sees up to token 14.
    assert context.lengths(reading, 14, "sentence") == [4, 15]
    with pytest.raises(BadInput, match="outside the text's 22 tokens"):
        context.lengths(reading, 22, "token")


@pytest.mark.parametrize("position", [2, 9, 21])
def test_each_step_is_a_plain_reading_of_those_tokens(reading, position):
    ids = reading.ids.tolist()
    steps = list(context.grow(reading, position, context.doubling(position + 1), fidelity=0.6))
    assert [step.length for step in steps] == context.doubling(position + 1)
    whole = reading.full_probabilities([position])[0]
    for step in steps:
        start = position + 1 - step.length
        assert step.start == start
        alone = read_ids(reading.model, "", ids[start : position + 1], "l1")
        (wanted,) = profile(alone, fidelity=0.6, positions=[-1])
        found = step.prediction
        assert (found.density, found.found.trace.edges_full) == (wanted.density, wanted.found.trace.edges_full)
        assert found.entropy == pytest.approx(wanted.entropy, rel=1e-5)
        cut = alone.full_probabilities([step.length - 1])[0]
        assert step.distance == pytest.approx(float((cut - whole).abs().sum() / 2), abs=1e-6)
        if position + 1 < len(ids):
            assert found.next_id == ids[position + 1]
            assert found.surprisal == pytest.approx(float(-cut[ids[position + 1]].log()), rel=1e-4)
    assert steps[-1].distance == 0
    assert steps[-1].prediction.density == next(profile(reading, fidelity=0.6, positions=[position])).density


def test_a_token_before_every_text_stays_and_does_not_count():
    reading = read(begun(), "abcd")
    ids = reading.ids.tolist()
    assert context.added(reading.model, ids) == 1
    assert context.added(lettered(), ids) == 0
    assert context.longest(reading, 4) == 4
    with pytest.raises(BadInput, match="has no context; choose a later one"):
        context.longest(reading, 0)


def test_cuts_keep_the_token_before_the_text(monkeypatch):
    whole, seen = read(begun(), "abcdefg"), []

    def watched(model, text, ids, rule):
        seen.append(ids)
        return read_ids(model, text, ids, rule)

    monkeypatch.setattr(context, "read_ids", watched)
    steps = list(context.grow(whole, 6, [1, 2, 4, 6]))
    ids = whole.ids.tolist()
    assert seen == [[1, ids[6], ids[7]], [1, *ids[5:8]], [1, *ids[3:8]]]
    assert [step.start for step in steps] == [6, 5, 3, 1]
    assert steps[-1].distance == 0


def test_a_sweep_has_its_areas(reading):
    (step,) = context.grow(reading, 5, [3], sweep=True)
    assert 0 <= step.prediction.auc_linear <= 1


def test_enough_is_where_the_likeliest_token_stays():
    assert context.enough([(1, 7), (2, 5), (4, 7), (8, 7)]) == 4
    assert context.enough([(1, 7), (2, 7)]) == 1
    assert context.enough([(1, 5), (2, 7)]) == 2
    assert context.enough([]) is None


def test_what_the_page_asks_is_plain_data(service, tiny_folder):
    question = Question(str(tiny_folder), "The capital of France is Paris.", fidelity=0.6)

    def ask(answer, **given):
        job = service.ask(question, answer, **given)
        assert job.wait(60)
        seen = job.poll()
        assert seen.status is Status.DONE, seen.error
        json.dumps(seen.results, allow_nan=False)
        return seen.results

    (text,) = ask(contexts.predicted)
    assert text["added"] == 0
    assert "".join(token["text"] for token in text["tokens"]) == question.text
    assert [one["position"] for one in text["predictions"]] == list(range(len(text["tokens"])))
    assert [one["surprisal"] is None for one in text["predictions"]].index(True) == len(text["tokens"]) - 1
    steps = ask(contexts.growing, position=5, by="token")
    assert [step["length"] for step in steps] == [1, 2, 4, 6]
    assert {step["of"] for step in steps} == {4}
    assert {step["prediction"]["position"] for step in steps} == {5}
    texts = [token["text"] for token in text["tokens"]]
    assert [step["text"] for step in steps] == ["".join(texts[6 - length : 6]) for length in (1, 2, 4, 6)]


def rows(*texts):
    """Rows of a dataset: one text a list of densities."""
    return [
        {"text_id": str(number), "model": "m", "position": position, "added": 0, "pair": None, "density": value}
        for number, values in enumerate(texts)
        for position, value in enumerate(values)
    ]


def test_lengths_are_put_in_bins_that_double():
    # Lengths 1 | 2 | 3, 4 | 5.
    found = by_length(rows([0.9, 0.8, 0.7, 0.5, 0.1], [0.7, 0.6, 0.5, 0.3]))
    assert [(one.first, one.last, one.mean.n) for one in found] == [(1, 1, 2), (2, 2, 2), (3, 4, 4), (5, 8, 1)]
    # (0.7 + 0.5 + 0.5 + 0.3) / 4
    assert found[2].mean.value == pytest.approx(0.5)
    assert found[2].mean.groups == 2


def test_predictions_in_bins_too_small_for_a_mean_are_counted():
    # Of lengths 1 | 2 | 3, 4 | 5 only the third has four.
    found = by_length(rows([0.9, 0.8, 0.7, 0.5, 0.1], [0.7, 0.6, 0.5, 0.3]))
    assert not_drawn(found) == "5 of the predictions are in no bin drawn: a mean of fewer than 4 is not estimated."
    assert not_drawn(found[2:]) == "1 of the predictions is in no bin drawn: a mean of fewer than 4 is not estimated."
    assert not_drawn(found[2:3]) == ""


def test_trends_are_of_each_text():
    falling, rising = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    short, flat = falling[: FEWEST_PREDICTIONS - 1], [0.5] * 9
    found = per_text(rows(falling, rising, short, flat, *[falling] * 8))
    assert [round(one.rho, 6) for one in found.texts] == [-1, 1, *[-1] * 8]
    assert [one.text_id for one in found.texts] == ["0", "1", *map(str, range(4, 12))]
    assert (found.negative, found.left_out) == (9, 2)
    assert found.mean.value == pytest.approx(-0.8)
    assert found.mean.low <= -0.8 <= found.mean.high


def test_a_dataset_of_last_predictions_is_refused_with_the_command():
    with pytest.raises(BadInput, match="--positions all"):
        measured(rows([0.5], [0.4]), "m", "density")
    with pytest.raises(BadInput, match="no density by other"):
        measured(rows([0.5, 0.4]), "other", "density")
    broken = [{"text_id": "9", "model": "m", "position": None, "density": None}]
    assert len(measured([*rows([0.5, 0.4]), *broken], "m", "density")) == 2
    added = [{**row, "added": 1} for row in rows([0.5, 0.4, 0.3])]
    assert [row["position"] for row in measured(added, "m", "density")] == [1, 2]
