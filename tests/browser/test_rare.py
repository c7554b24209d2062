"""The Rare tokens page in Chromium: a text against its tokens' frequencies, and a word swapped."""

import pytest

from tests.browsing import PHONE, TEXT, follow, options, picture, press, said, until

pytestmark = pytest.mark.browser


def test_a_text_is_set_against_frequencies_and_a_token_opened_in_the_explorer(visit, served, tiny_folder):
    page = visit()
    follow(page, served, "rare", model=tiny_folder, text=TEXT, fidelity="0.60")
    press(page, "Run")
    page.get_by_role("heading", name="Density against").or_(page.get_by_text("Costliest")).first.wait_for()
    page.get_by_test_id("stVegaLiteChart").first.locator("canvas, svg").first.wait_for()
    until(page, lambda: page.get_by_test_id("stDataFrame").count() > 0)
    picture(page, "rare")
    page.set_viewport_size(PHONE["viewport"])
    until(page, lambda: page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))
    picture(page, "rare-phone")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.locator("[class*='st-key-rare-text-costliest-0'] button").click()
    page.get_by_role("heading", name="Predicting").wait_for()
    assert page.get_by_label("Text", exact=True).input_value() == TEXT
    chosen = options(page).evaluate_all("cells => cells.filter(cell => cell.ariaSelected === 'true').length")
    assert chosen == 1


def test_a_word_is_swapped_and_the_texts_stand_above_each_other(visit, served, tiny_folder):
    page = visit()
    follow(page, served, "rare", view="swap", model=tiny_folder, text=TEXT, word="2", to=["shut", "<b>x</b>"])
    press(page, "Run")
    page.get_by_text("Less the original").nth(1).wait_for()
    maps = page.get_by_role("listbox")
    texts = ["".join(one.get_by_role("option").all_inner_texts()).replace("·", " ") for one in maps.all()]
    assert texts[0].startswith(TEXT)
    assert texts[1].startswith("Mr Abernathy shut the door.") and texts[3].startswith("Mr Abernathy <b>x</b> the door.")
    assert "opened" in said(page)
    picture(page, "rare-swap")
