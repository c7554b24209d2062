"""The served page in Chromium, offline: typed into, hovered, walked with the keys, saved from, dark, on a phone."""

import csv
import io
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from density.view import visible
from tests.browsing import PATIENCE, PHONE, TEXT, done, expand, options, picture, run, said, tip, until
from tests.test_view import HOSTILE

pytestmark = pytest.mark.browser


def test_a_typed_text_is_coloured_and_what_is_hovered_shows_its_numbers(visit):
    page = visit()
    run(page, TEXT)
    tokens = options(page)
    assert "".join(tokens.all_inner_texts()[:-1]).replace("·", " ") == TEXT
    colours = tokens.evaluate_all("cells => cells.map(cell => cell.style.backgroundColor)")
    assert colours[0] == "" and all(colours[1:]) and len(set(colours)) > 2
    assert page.get_by_text("density of predicting the token").is_visible()
    assert tip(page).count() == 0
    tokens.nth(2).hover()
    shown = tip(page).inner_text()
    assert re.search(r"density\s+[\d.]+% \(([\d.]+% is not enough|nothing smaller exists)\)", shown)
    assert all(name in shown for name in ("total variation", "entropy", "surprisal", "nats"))
    picture(page, "hover")
    page.mouse.move(5, 5)
    tip(page).wait_for(state="hidden")


def test_a_token_is_chosen_by_click_and_by_keys(visit):
    page = visit()
    run(page, TEXT)
    tokens = options(page)
    tokens.nth(3).click()
    heading = page.get_by_role("heading", name="Predicting")
    heading.wait_for()
    first = heading.inner_text()
    assert tokens.nth(3).get_attribute("aria-selected") == "true"
    # It would lie over what was opened.
    assert tip(page).is_hidden()
    picture(page, "chosen")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    until(page, lambda: heading.inner_text() != first)
    assert [token.get_attribute("aria-selected") for token in tokens.all()][3:5] == ["false", "true"]
    page.keyboard.press("End")
    assert tokens.last.evaluate("cell => cell.getRootNode().activeElement === cell")
    page.keyboard.press("Home")
    assert tokens.first.evaluate("cell => cell.getRootNode().activeElement === cell")
    assert tip(page).inner_text().endswith("first token, nothing predicts it")
    page.keyboard.press("Escape")
    tip(page).wait_for(state="hidden")


def test_only_one_token_is_in_the_order_of_tabs_and_each_says_its_numbers(visit):
    page = visit()
    run(page, TEXT)
    tokens = options(page)
    assert tokens.evaluate_all("cells => cells.filter(cell => cell.tabIndex === 0).length") == 1
    labels = tokens.evaluate_all("cells => cells.map(cell => cell.getAttribute('aria-label'))")
    assert all(re.search(r": density ", label) for label in labels)
    assert page.get_by_role("listbox", name="Tokens by the density").count() == 1


def test_the_files_are_the_table_and_hold_the_text(visit):
    page = visit()
    run(page, TEXT)
    expand(page, "Table and files")
    saved = {}
    for name in ("JSON", "CSV"):
        with page.expect_download() as download:
            page.get_by_role("button", name=name, exact=True).click()
        saved[name] = Path(download.value.path()).read_text(encoding="utf-8")
        assert re.fullmatch(r"density-[\w.-]+\.(json|csv)", download.value.suggested_filename)
    document, rows = json.loads(saved["JSON"]), list(csv.DictReader(io.StringIO(saved["CSV"])))
    assert (document["schema"], document["text"]) == ("density.profile/1", TEXT)
    assert [float(row["density"]) for row in rows] == [found["density"] for found in document["predictions"]]
    assert len(rows) == options(page).count() - 1
    picture(page, "table")


def test_hostile_texts_are_shown_and_not_obeyed(visit):
    page = visit()
    tokens = options(page)
    for number, text in enumerate(HOSTILE):
        typed = text.replace("\x00", "")
        wanted = visible(typed)
        run(page, typed)
        until(page, lambda wanted=wanted: shown_text(tokens) == wanted)
        page.get_by_role("button", name="Stop").wait_for(state="hidden")
        tokens.nth(1).click()
        page.get_by_role("heading", name="Predicting").wait_for()
        page.mouse.move(5, 5)
        tokens.nth(1).hover()
        tip(page).wait_for()
        picture(page, f"hostile-{number}")
    expand(page, "Table and files")
    page.get_by_test_id("stDataFrame").wait_for()
    assert page.locator("img[src=x]").count() == 0
    assert page.evaluate("[...document.scripts].every(script => !script.textContent.includes('alert'))")


def shown_text(tokens):
    """What the heatmap's tokens are called, as one text; those of part of a character are called nothing."""
    labels = tokens.evaluate_all("cells => cells.map(cell => cell.getAttribute('aria-label'))")
    names = "".join(label.split(": density ")[0] for label in labels[:-1])
    return names.replace("⋯", "")


def test_a_bad_text_or_model_is_refused_and_nothing_is_lost(visit):
    page = visit()
    run(page, TEXT)
    tokens = options(page)
    count = tokens.count()
    run_button = page.get_by_role("button", name="Run", exact=True)
    for text, reason in (("   ", "The text is empty"), ("word " * 600, "and the limit is 512; shorten it")):
        page.get_by_label("Text", exact=True).fill(text)
        run_button.click()
        page.get_by_text(reason).wait_for()
        assert page.get_by_label("Text", exact=True).input_value() == text
        assert tokens.count() == count
    page.get_by_label("Text", exact=True).fill(TEXT)
    model = page.get_by_role("combobox", name="Model")
    model.fill("nonsense")
    model.press("Enter")
    page.get_by_text("Not in the catalogue").wait_for()
    run_button.click()
    page.get_by_test_id("stAlert").filter(has_text="is no model").wait_for()
    assert tokens.count() == count
    picture(page, "errors")


def test_another_fidelity_recolours_what_is_there(visit):
    page = visit()
    run(page, TEXT)
    tokens = options(page)
    colours = "cells => cells.map(cell => cell.style.backgroundColor)"
    before = tokens.evaluate_all(colours)
    slider = page.get_by_role("slider")
    slider.focus()
    for _ in range(15):
        slider.press("ArrowRight")
    page.wait_for_url(re.compile("fidelity=0.95"))
    until(page, lambda: tokens.evaluate_all(colours) != before)
    until(page, lambda: "press Run for what is asked now" not in said(page))


def test_a_token_that_is_not_there_yet_says_so_when_it_is_clicked(visit):
    page = visit(positions="last")
    run(page, TEXT)
    options(page).nth(2).click()
    page.get_by_role("status").filter(has_text="not measured; ask for all predictions").wait_for()
    options(page).first.click()
    page.get_by_role("status").filter(has_text="first token, nothing predicts it").wait_for()
    options(page).last.click()
    page.get_by_role("heading", name="Predicting").wait_for()


def test_a_click_and_a_shift_click_mark_a_span(visit):
    page = visit()
    run(page, TEXT)
    tokens = options(page)
    tokens.nth(6).click()
    tokens.nth(3).click(modifiers=["Shift"])
    page.wait_for_url(re.compile(r"positions=2\.\.5"))
    until(page, lambda: page.get_by_label("first", exact=True).input_value() == "2")
    coloured = "cells => cells.map(cell => Boolean(cell.style.backgroundColor))"
    wanted = [2 <= position <= 5 for position in range(-1, tokens.count() - 1)]
    until(page, lambda: tokens.evaluate_all(coloured) == wanted)


def test_a_sweep_is_tinted_by_its_area_and_other_measures_by_word_and_by_sentence(visit):
    page = visit(search="sweep")
    run(page, "One two. Three four")
    tokens = options(page)
    colours = "cells => cells.map(cell => cell.style.backgroundColor)"
    by_density = tokens.evaluate_all(colours)
    page.get_by_role("radio", name="AUC-TV", exact=True).click()
    until(page, lambda: tokens.evaluate_all(colours) != by_density)
    page.get_by_role("radio", name="surprisal").click()
    page.get_by_role("radio", name="sentence").click()
    page.get_by_text("surprisal of the token, in nats, mean by sentence").wait_for()
    until(page, lambda: len(set(tokens.evaluate_all(colours)[:-1])) == 2)
    tokens.nth(1).hover()
    assert re.search(r"surprisal of its sentence, mean of \d+", page.get_by_role("tooltip").inner_text())
    picture(page, "sentences")


def test_tokens_are_counted_at_a_pause_in_the_typing(visit):
    page = visit()
    run(page, TEXT)
    page.get_by_label("Text", exact=True).click()
    page.keyboard.press("Control+A")
    page.keyboard.type("ab")
    page.get_by_text("2 tokens, 2 predictions: about").wait_for()
    assert page.evaluate("document.activeElement.tagName") == "TEXTAREA"


def test_ctrl_and_enter_in_the_text_run_it(visit):
    page = visit()
    box = page.get_by_label("Text", exact=True)
    box.fill("what was typed last")
    box.press("Control+Enter")
    page.get_by_text(re.compile(r"^\d+ predictions?, \d+ replays?, ")).wait_for()
    until(page, lambda: shown_text(options(page)) == visible("what was typed last"))


def test_words_of_another_direction_keep_their_order(visit):
    page = visit()
    run(page, "שלום עולם, this is mixed עברית text.")
    boxes = [(cell.inner_text(), cell.bounding_box()) for cell in options(page).all()]
    letters = [(text, box) for text, box in boxes if text.isascii() and text.isalpha()][:3]
    assert "".join(text for text, _ in letters) == "this"
    assert len({box["y"] for _, box in letters}) == 1
    places = [box["x"] for _, box in letters]
    assert places == sorted(places)
    picture(page, "leftwards")


def test_half_a_character_is_shown_as_such_and_the_page_goes_on(visit):
    page = visit()
    run(page, TEXT)
    page.get_by_label("Text", exact=True).evaluate("""box => {
        const set = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set;
        set.call(box, "half \\ud83d of it");
        box.dispatchEvent(new Event("input", { bubbles: true }));
    }""")
    page.wait_for_url(re.compile("text=half"))
    page.get_by_role("button", name="Run", exact=True).click()
    tokens = options(page)
    until(page, lambda: shown_text(tokens) == visible("half \N{REPLACEMENT CHARACTER} of it"))


def test_a_precomputed_example_is_there_before_any_model_and_says_so(visit):
    page = visit(model="")
    tokens = options(page)
    assert tokens.last.inner_text().split()[-1] == "Rome"
    assert "Precomputed with smollm2-135m at fidelity 80%" in said(page)
    page.get_by_text("Idiom", exact=True).click()
    until(page, lambda: "bucket" in "".join(tokens.all_inner_texts()))
    picture(page, "precomputed")


def test_five_hundred_tokens_stay_fluid(visit):
    page = visit(positions="last")
    run(page, "a b c d " * 64)
    tokens = options(page)
    assert tokens.count() > 500
    tokens.nth(300).focus()
    spent = page.evaluate("""async () => {
        const text = [...document.querySelectorAll("*")].map(at => at.shadowRoot?.querySelector(".text")).find(Boolean);
        const started = performance.now();
        for (let step = 0; step < 20; step++) {
            const key = new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true });
            text.getRootNode().activeElement.dispatchEvent(key);
            await new Promise(requestAnimationFrame);
        }
        return performance.now() - started;
    }""")
    assert spent < 20 * 100
    picture(page, "five-hundred")


def test_a_long_run_fills_in_and_can_be_stopped(visit):
    page = visit()
    run(page, "warm up")
    page.get_by_label("Text", exact=True).fill("The old man opened the door and saw nobody at all. " * 17)
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text(re.compile(r"Measuring: \d+ of \d+ predictions found")).wait_for()
    picture(page, "running")
    page.get_by_role("button", name="Stop").click()
    page.get_by_text(re.compile(r"Stopped after [\d.]+ s;")).wait_for()
    assert options(page).count() > 150
    picture(page, "stopped")


def test_a_link_brings_somebody_else_to_the_same_question(visit, tiny_folder):
    page = visit()
    run(page, TEXT)
    page.wait_for_url(re.compile("text="))
    linked = dict(pair.split("=", 1) for pair in urlsplit(page.url).query.split("&"))
    assert set(linked) == {"text", "model", "fidelity", "rule", "positions", "search"}
    other = visit(text=TEXT, fidelity="0.9", positions="nowhere")
    until(page, lambda: other.get_by_label("Text", exact=True).input_value() == TEXT)
    assert "The link's positions 'nowhere' is not one of all, last:16, last, or a span" in said(other)
    # The model is in memory, so that nothing is opened unasked.
    until(other, lambda: shown_text(options(other)) == visible(TEXT))


def test_the_dark_page_can_be_read(visit):
    page = visit({"color_scheme": "dark"})
    run(page, TEXT)
    options(page).nth(2).click()
    page.get_by_role("heading", name="Predicting").wait_for()
    page.locator("canvas, svg.marks").first.wait_for()
    options(page).nth(3).hover()
    tip(page).wait_for()
    background = tip(page).evaluate("tip => getComputedStyle(tip).backgroundColor")
    assert max(map(int, re.findall(r"\d+", background)[:3])) < 64
    picture(page, "dark")


def test_the_page_fits_a_phone(visit):
    page = visit(PHONE)
    run(page, TEXT)
    options(page).nth(4).tap()
    page.get_by_role("heading", name="Predicting").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    boxes = options(page).evaluate_all("cells => cells.map(cell => cell.getBoundingClientRect().right)")
    assert max(boxes) <= PHONE["viewport"]["width"]
    picture(page, "phone")


@pytest.mark.real_model
def test_the_default_model_expects_paris(visit, smollm2):
    page = visit(model="smollm2-135m", text="The capital of France is")
    done(page, patience=4 * PATIENCE)
    last = options(page).last
    assert last.inner_text().split() == ["Paris"]
    last.hover()
    assert "·Paris" in tip(page).inner_text()
    picture(page, "paris")
