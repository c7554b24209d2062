"""The context and comparison pages in Chromium: a target chosen, curves as they come; two models, two texts."""

import pytest

from tests.browsing import PHONE, follow, picture, press, said, until
from tests.test_compare_pages import PAIR

pytestmark = pytest.mark.browser

TEXT = "The door was shut. Mr Abernathy opened the door."


def test_a_token_is_chosen_and_its_context_grows(visit, served, tiny_folder):
    page = visit()
    follow(page, served, "context", model=tiny_folder, text=TEXT, fidelity="0.60")
    press(page, "Run")
    tokens = page.get_by_role("listbox", name="Tokens by the surprisal").get_by_role("option")
    page.get_by_text("Table and file").wait_for()
    assert "".join(tokens.all_inner_texts()[:-1]).replace("·", " ") == TEXT
    heading = page.get_by_role("heading", name="with more and more context")
    first = heading.inner_text()
    tokens.nth(5).click()
    until(page, lambda: heading.inner_text() != first and "5 tokens of the text before it" in said(page))
    page.get_by_text("Table and file").wait_for()
    assert "position=4" in page.url
    until(page, lambda: page.get_by_test_id("stVegaLiteChart").count() == 4)
    page.get_by_text("sentences", exact=True).click()
    until(page, lambda: "by=sentence" in page.url)
    page.get_by_text("Table and file").wait_for()
    picture(page, "context")
    page.set_viewport_size(PHONE["viewport"])
    picture(page, "context-phone")


def test_two_models_and_two_texts_are_laid_side_by_side(visit, served, tiny_folder, other_folder):
    page = visit()
    follow(page, served, "compare", model=[tiny_folder, other_folder], text=TEXT, fidelity="0.60")
    press(page, "Run")
    page.get_by_role("heading", name="Do they agree?").wait_for()
    maps = page.get_by_role("listbox", name="Tokens by the density")
    assert maps.count() == 2
    words = maps.evaluate_all(
        "maps => maps.map(map => [...map.querySelectorAll('.cell:not(.joined)')].map(cell => cell.className))"
    )
    # The second has a token before the text; both have what comes next.
    assert [len(found) for found in words] == [len(TEXT.split()) + 1, len(TEXT.split()) + 2]
    picture(page, "compare-models")
    follow(page, served, "compare", view="pair", model=tiny_folder, text=PAIR[0], second=PAIR[1], fidelity="0.60")
    press(page, "Run")
    page.get_by_text("Aligned tokens as a table").wait_for()
    second = page.get_by_role("listbox", name="Differences, second text").get_by_role("option")
    assert "".join(second.all_inner_texts()).replace("·", " ") == PAIR[1]
    shown = page.get_by_role("tooltip").filter(has_text="second less first")

    def met():
        # What is drawn above may still grow, and carry the token away from the pointer.
        page.mouse.move(5, 5)
        second.last.hover()
        return shown.count() == 1

    until(page, met)
    picture(page, "compare-pair")
