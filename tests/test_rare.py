"""Rare tokens: what is counted of a text or a corpus, correlations, swaps, and the page that shows them."""

import math

import numpy as np
import pandas as pd
import pytest
import wordfreq

from density import frequency, rare, swaps
from density.errors import BadInput
from density.rare_charts import scatter_chart
from tests.test_frequency import WORDS
from tests.test_pages import cells_of, opened, plain, run, said, settle
from tests.test_view import document, prediction

COUNTED = {**WORDS, "the": 0.5, "capital": 0.3, "of": 0.4, "old": 0.1, "man": 0.2}


@pytest.fixture
def page(own_home, tiny_folder, monkeypatch):
    """The explorer with the tiny model chosen, and a language of a few words."""
    monkeypatch.setattr(wordfreq, "get_frequency_dict", lambda language, wordlist: COUNTED)
    monkeypatch.setattr(frequency, "_tables", frequency.Recent(2))
    return opened(model=str(tiny_folder))


def test_the_heatmap_is_tinted_by_the_frequency_of_its_own_tokens(page):
    page.text_area[0].set_value("The capital of the old man.")
    run(page)
    page.session_state.tint = "frequency"
    app = settle(page, until=lambda app: any(cell["tint"] for cell in cells_of(app)))
    facts = {cell["pieces"][0][0]: dict(cell["facts"])["frequency"] for cell in cells_of(app)[:-1]}
    assert facts["."] == "not covered"
    assert all(0 < float(said.split()[0]) <= 9 for said in facts.values() if said != "not covered")
    assert sum(said != "not covered" for said in facts.values()) > 5


def test_without_its_model_a_text_is_not_tinted_and_nothing_is_fetched(own_home):
    app = opened()
    app.session_state.tint = "frequency"
    app.run()
    assert "press Run to bring the model in" in said(app)
    assert not any(cell["tint"] for cell in cells_of(app))
    assert "frequencies" not in app.session_state


def test_a_language_there_is_no_list_of_is_refused(page):
    run(page)
    page.session_state.language = "xx"
    page.session_state.tint = "frequency"
    page.run()
    assert "There is no list of words for language 'xx'; choose from ar, bg" in plain(said(page))


def predictions(count, **columns):
    """A profile of ``count`` predictions with these numbers, a list each."""
    texts = [f" w{number}" for number in range(count)]
    shown = document(texts, *(prediction(at) for at in range(count)))
    for at, found in enumerate(shown["predictions"]):
        coming = at + 1 < count
        found.update(
            context_token=texts[at],
            next_token=texts[at + 1] if coming else None,
            next_id=at + 1 if coming else None,
            surprisal=found["surprisal"] if coming else None,
            top_tokens=[{"text": " top", "id": 100 + at, "probability": 0.5}],
        )
        found.update({name: values[at] for name, values in columns.items()})
    return shown


def test_the_token_that_came_and_the_token_predicted_are_kept_apart():
    frame = rare.of_profile(predictions(3, density=[0.1, 0.2, 0.3]))
    assert rare.token_ids(frame) == [1, 2, 100, 101, 102]
    found = rare.with_frequencies(frame, {1: 5.0, 2: None, 100: 3.0, 101: 4.0})
    assert found[rare.CAME].tolist()[:1] == [5.0] and found[rare.CAME].isna().tolist() == [False, True, True]
    assert found[rare.PREDICTED].tolist()[:2] == [3.0, 4.0] and math.isnan(found[rare.PREDICTED].tolist()[2])


def test_coverage_counts_tokens_and_names_those_without_a_frequency():
    frame = rare.of_profile(predictions(5))
    found = rare.with_frequencies(frame, {1: 5.0, 3: 2.0, 100: 1.0})
    came = rare.coverage(found, rare.CAME, lowered=[3])
    # Four tokens came after the first; those with ids 2 and 4 have none.
    assert (came.tokens, came.covered, came.lowered) == (4, 2, 1)
    assert sorted(came.without) == [(" w2", 1), (" w4", 1)]
    predicted = rare.coverage(found, rare.PREDICTED, lowered=[])
    assert (predicted.tokens, predicted.covered, predicted.without) == (5, 1, ((" top", 4),))


def test_a_relation_is_over_the_predictions_that_have_both_numbers():
    count = 12
    density = [(at + 1) / 20 for at in range(count)]
    frame = rare.of_profile(predictions(count, density=density))
    # The rarer the denser, but for one token that is not covered.
    zipf = {at + 1: 8.0 - at / 2 for at in range(count) if at != 5}
    found = rare.relate(rare.with_frequencies(frame, zipf), rare.CAME, "density")
    # The last prediction has no token that came, and one of the others has no frequency.
    assert (found.rho.n, found.left_out) == (10, 2)
    assert found.rho.value == pytest.approx(-1) and found.rho.low == pytest.approx(-1)
    # Half a Zipf for each twentieth.
    assert found.trend.slope == pytest.approx(-0.1)
    # Density and frequency follow the position exactly: nothing is left of them when it is held.
    assert found.partial.value is None
    assert "the rarer the token that came, the denser its prediction" in rare.in_words(found, rare.CAME, "density")


def test_position_is_controlled_for():
    rng = np.random.default_rng(0)
    count = 60
    position = np.arange(count)
    frame = rare.of_profile(predictions(count, density=list(1 - position / 100 + rng.normal(0, 0.02, count))))
    # Frequency falls along the text as density does, and has nothing else to do with it.
    zipf = {at + 1: float(8 - at / 10 + rng.normal(0, 0.2)) for at in range(count)}
    found = rare.relate(rare.with_frequencies(frame, zipf), rare.CAME, "density")
    assert found.rho.value > 0.9
    assert abs(found.partial.value) < 0.3
    assert rare.in_words(found, rare.CAME, "density").startswith("Position held fixed, the interval holds 0")


def test_why_nothing_can_be_drawn_is_told():
    frame = rare.with_frequencies(rare.of_profile(predictions(3, density=[0.1, 0.2, 0.3])), {1: 5.0, 2: 4.0})
    last = frame.tail(1)
    for predictor in (rare.CAME, "surprisal"):
        assert rare.lacking(frame, predictor, "density") == ""
        assert "at the ends of their texts, where no token came" in rare.lacking(last, predictor, "density")
    assert rare.lacking(last, "entropy", "density") == ""
    expected = "no prediction has both density and frequency, token predicted."
    assert rare.lacking(frame, rare.PREDICTED, "density").endswith(expected)


def test_an_interval_that_holds_0_supports_nothing():
    frame = rare.of_profile(predictions(12, density=[0.5, 0.1, 0.9, 0.3, 0.4, 0.8, 0.2, 0.6, 0.7, 0.2, 0.9, 0.4]))
    found = rare.relate(rare.with_frequencies(frame, {at: float(at) for at in range(13)}), rare.CAME, "density")
    assert not found.rho.excludes(0)
    assert "do not tell whether" in rare.in_words(found, rare.CAME, "density")
    nothing = rare.relate(rare.with_frequencies(frame, {}), rare.CAME, "density")
    assert (nothing.rho.value, nothing.trend, nothing.left_out) == (None, None, 12)
    assert "nothing can be said" in rare.in_words(nothing, rare.CAME, "density")
    few = rare.relate(rare.with_frequencies(frame.head(9), {at: float(at) for at in range(9)}), rare.CAME, "density")
    assert "8 predictions are too few for an interval" in rare.in_words(few, rare.CAME, "density")


def dataset(texts, model="m"):
    """Rows of a corpus dataset, one text after another, each of so many predictions."""
    rows = []
    for text_id, count in texts.items():
        for found in predictions(count)["predictions"]:
            tops = {"top_tokens": [" top"], "top_ids": [100], "error": None}
            rows.append({**found, "text_id": text_id, "text": text_id, "model": model, "added": 0, **tops})
    return pd.DataFrame(rows).reindex(columns=list(rare.STORED))


def test_a_dataset_is_drawn_text_by_text_and_its_errors_are_left_out():
    rows = dataset({"b": 5, "a": 4})
    failed = {"text_id": "c", "text": "c", "model": "m", "error": "BadInput: empty"}
    rows = pd.concat([rows, pd.DataFrame([failed])], ignore_index=True)
    frame = rare.of_dataset(rows.sample(frac=1, random_state=0), "m")
    assert frame["text_id"].value_counts().to_dict() == {"b": 5, "a": 4}
    assert frame.groupby("text_id")["position"].apply(list).to_dict() == {"a": [0, 1, 2, 3], "b": [0, 1, 2, 3, 4]}
    found = rare.relate(rare.with_frequencies(frame, {at: float(at) for at in range(6)}), rare.CAME, "entropy")
    assert (found.rho.n, found.rho.groups) == (7, 2)
    with pytest.raises(BadInput, match="no prediction by other"):
        rare.of_dataset(rows, "other")


def test_a_prediction_that_sees_only_what_is_added_and_a_text_in_another_language_are_left_out():
    rows = dataset({"a": 6, "b": 6, "c": 6}).assign(added=1)
    rows["language"] = rows["text_id"].map({"a": "en", "b": "de"})
    frame = rare.of_dataset(rows, "m")
    assert frame["position"].min() == 1
    assert rare.spoken(frame, {"en": 1.0})["text_id"].unique().tolist() == ["a", "c"]
    assert rare.spoken(frame, {"de": 0.5, "en": 0.5}).equals(frame)


def test_the_halves_of_a_minimal_pair_are_drawn_as_one():
    rows = dataset({name: 6 for name in "abcd"})
    rows["pair"] = rows["text_id"].map({"a": "p", "b": "p"})
    frame = rare.with_frequencies(rare.of_dataset(rows, "m"), {at: float(at) for at in range(7)})
    assert rare.relate(frame, rare.CAME, "entropy").rho.groups == 3


def test_two_texts_are_too_few_for_an_interval():
    frame = rare.of_dataset(dataset({"a": 6, "b": 6}), "m").assign(density=[at / 20 for at in range(12)])
    found = rare.relate(rare.with_frequencies(frame, {at: float(at) for at in range(6)}), rare.CAME, "density")
    assert found.rho.low is None
    assert "2 texts are too few for an interval" in rare.in_words(found, rare.CAME, "density")


def test_a_token_is_shown_with_those_around_it_as_far_as_they_are_known():
    frame = rare.of_profile(predictions(12))
    places = rare.tokens_by_place(frame)
    assert rare.in_context(places, "", 6) == (" w2 w3 w4 w5 w6", " w8 w9 w10 w11")
    assert rare.in_context(places, "", 0) == (" w0", " w2 w3 w4 w5 w6")
    alone = rare.tokens_by_place(frame.iloc[[6]])
    assert rare.in_context(alone, "", 6) == (" w6", "")


def test_extremes_leave_out_what_has_no_number():
    frame = rare.with_frequencies(rare.of_profile(predictions(5)), {1: 5.0, 2: 2.0, 3: 2.0})
    assert rare.extremes(frame, rare.CAME, 2, largest=False)["position"].tolist() == [1, 2]
    assert rare.extremes(frame, rare.CAME, 9, largest=True)["position"].tolist() == [0, 1, 2]


def test_every_point_is_drawn_with_its_tokens_and_the_line_ends_at_the_outermost():
    frame = rare.with_frequencies(rare.of_profile(predictions(9)), {at: float(at) for at in range(1, 9)})
    frame = frame.assign(density=[at / 20 for at in range(9)])
    relation = rare.relate(frame, rare.CAME, "density")
    chart = scatter_chart(frame, rare.CAME, "density", relation).to_dict()
    points, line = (layer["data"]["values"] for layer in chart["layer"])
    assert [point["came"] for point in sorted(points, key=lambda point: point["position"])][:2] == ["·w1", "·w2"]
    assert [end["x"] for end in line] == [1.0, 8.0]
    assert [end["y"] for end in line] == pytest.approx([0.0, 0.35])
    entropy = scatter_chart(frame, "entropy", "density", rare.relate(frame, "entropy", "density")).to_dict()
    assert len(entropy["layer"]) == 1


TEXT = "The old man's coracle sank, and the old man swam."


def test_words_are_found_where_they_stand():
    found = swaps.words_of(TEXT)
    assert [word.text for word in found][:4] == ["The", "old", "man's", "coracle"]
    assert all(TEXT[word.start : word.end] == word.text for word in found)
    assert swaps.put(TEXT, found[3], "boat") == "The old man's boat sank, and the old man swam."
    assert swaps.words_of("¿… 月亮 re-enter?") == [swaps.Word("月亮", 3, 5), swaps.Word("re-enter", 6, 14)]


def test_replacements_are_one_a_line_each_once():
    assert swaps.parse_replacements(" boat \n\nship\nboat\ncoracle\ntwo words", "coracle", 3) == [
        *("boat", "ship", "two words")
    ]
    with pytest.raises(BadInput, match="there are 3 replacements and at most 2"):
        swaps.parse_replacements("a\nb\nc", "d", 2)


def swap_document(tokens, densities):
    """A profile of a text cut into ``tokens``; the density of predicting each but the first, and surprisals of 1."""
    shown = document(tokens, *(prediction(at) for at in range(len(tokens))))
    shown["text"] = "".join(tokens)
    shown["tokens"] = [{"index": at, "id": hash_of(text), "text": text} for at, text in enumerate(tokens)]
    for found, density in zip(shown["predictions"], [*densities, 0.99], strict=True):
        found.update(density=density, surprisal=1.0)
    return shown


def hash_of(text):
    """An id for a token, the same for the same text."""
    return int.from_bytes(text.encode(), "big")


ORIGINAL = swap_document(["The", " bo", "at", " sank", "."], [0.2, 0.4, 0.6, 0.8])
OTHER = swap_document(["The", " coracle", " sank", "."], [0.5, 0.7, 0.8])


def test_a_swap_is_measured_at_the_word_after_it_and_in_the_whole():
    found = swaps.measure_swap(ORIGINAL, 4, "boat", 4.5)
    assert found.tokens == (1, 2)
    assert (found.density, found.surprisal) == (pytest.approx(0.3), 2.0)
    assert (found.next, found.after, found.whole) == (0.6, pytest.approx(0.7), pytest.approx(0.5))
    other = swaps.measure_swap(OTHER, 4, "coracle", None)
    assert (other.tokens, other.density, other.next) == ((1,), 0.5, 0.7)
    assert swaps.difference(found.next, other.next) == pytest.approx(0.1)
    assert swaps.difference(None, 0.5) is None


def test_a_word_that_is_never_predicted_or_ends_the_text_has_no_number_there():
    first = swaps.measure_swap(ORIGINAL, 0, "The", None)
    assert (first.tokens, first.density, first.surprisal) == ((0,), None, None)
    last = swaps.measure_swap(ORIGINAL, 13, ".", None)
    assert (last.tokens, last.density, last.next, last.after) == ((4,), 0.8, None, None)


def test_the_same_tokens_on_both_sides_of_the_word_are_laid_side_by_side():
    assert swaps.aligned(ORIGINAL, OTHER, 4, ("boat", "coracle")) == [(0, 0), (3, 2), (4, 3)]


def test_a_word_is_looked_up_in_lower_case_and_in_a_mixture(monkeypatch):
    lists = {"en": {"boat": 1e-4}, "de": {"boat": 1e-6, "boot": 1e-4}}
    monkeypatch.setattr(wordfreq, "get_frequency_dict", lambda language, wordlist: lists[language])
    assert swaps.zipf_of_word("Boat", "en") == pytest.approx(5)
    assert swaps.zipf_of_word("boot", "en") is None
    assert swaps.zipf_of_word("boat", "en:1,de:1") == pytest.approx(9 + math.log10((1e-4 + 1e-6) / 2))


def test_offered_words_are_of_the_list_and_near_the_frequency_asked_for():
    found = swaps.suggest("en", 3.0, 12)
    assert len(found) == 12 and found == swaps.suggest("en", 3.0, 12)
    assert all(abs(swaps.zipf_of_word(word, "en") - 3) <= 0.11 for word in found)
    assert found != swaps.suggest("en", 3.0, 12, seed=1)
    assert swaps.suggest("en", 7.7, 12) == ["the"]
    with pytest.raises(BadInput, match="no list of words"):
        swaps.suggest("xx", 3.0, 12)
