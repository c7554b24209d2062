"""The selected prediction in Chromium: its size dragged, a head switched off, the model writing on, hostile tokens."""

import re

import pytest

from tests.browsing import PHONE, TEXT, expand, idle, picture, press, run, said, select, until
from tests.test_view import HOSTILE

pytestmark = pytest.mark.browser


def shown(page):
    """What is said of the trace that is shown."""
    return page.get_by_text("Below: the trace of").last


def test_a_size_dragged_moves_what_is_below(visit):
    page = visit()
    run(page, TEXT)
    select(page)
    before = shown(page).inner_text()
    assert "and so reaches the 80% asked" in before
    slider = page.get_by_role("slider", name="Size of the trace")
    slider.focus()
    for _ in range(12):
        slider.press("ArrowLeft")
    until(page, lambda: "does not reach" in said(page) and page.get_by_text("Below: the trace of").count() == 1)
    assert shown(page).inner_text() != before
    press(page, "Measure the curve")
    page.get_by_text("These points have been measured so far").wait_for(state="hidden")
    picture(page, "selected-curve")
    for view in ("Likeliest tokens", "What the trace is made of"):
        page.get_by_text(view, exact=True).click()
        page.get_by_text("Same top token" if view == "Likeliest tokens" else "Heads and sources by").wait_for()
        idle(page)
        picture(page, f"selected-{view.split()[0].lower()}")
    assert page.get_by_test_id("stVegaLiteChart").count() >= 4


def test_the_sources_of_an_early_token_have_rows_to_read(visit):
    page = visit()
    run(page, TEXT)
    select(page, 3)
    # Of the full graph, in which heads read both tokens before it.
    page.get_by_role("slider", name="Size of the trace").press("End")
    page.get_by_text("What the trace is made of", exact=True).click()
    page.get_by_text("Heads and sources by").wait_for()
    idle(page)
    sources = page.get_by_test_id("stVegaLiteChart").nth(3)
    # Two rows of 20 pixels, and the axis below them.
    until(page, lambda: 70 < sources.bounding_box()["height"] < 150)
    sources.scroll_into_view_if_needed()
    picture(page, "selected-sources")


def test_a_head_is_switched_off_and_taken_back(visit):
    page = visit()
    run(page, TEXT)
    select(page)
    expand(page, "What if")
    press(page, "Switch")
    page.get_by_text(re.compile("random edges switched off instead")).wait_for()
    assert "L0.H0 off" in said(page)
    page.get_by_text("After", exact=True).scroll_into_view_if_needed()
    picture(page, "selected-what-if")
    press(page, "Undo")
    page.get_by_text("After", exact=True).wait_for(state="hidden")
    assert "L0.H0 off" not in said(page)


def test_the_model_writes_on_stops_and_the_text_is_taken(visit):
    page = visit()
    run(page, TEXT)
    expand(page, "Write on")
    count = page.get_by_role("slider", name="Tokens")
    count.focus()
    count.press("End")
    press(page, "Write")
    written = page.get_by_role("listbox").last
    until(page, lambda: page.get_by_role("listbox").count() == 2 and written.get_by_role("option").count() > 4)
    press(page, "Stop writing")
    page.get_by_text(re.compile(r"Stopped: \d+ tokens? in")).wait_for()
    colours = written.get_by_role("option").evaluate_all("cells => cells.map(cell => cell.style.backgroundColor)")
    assert colours[0] == "" and all(colours[1:-1])
    written.scroll_into_view_if_needed()
    picture(page, "selected-written")
    press(page, "Use as text")
    until(page, lambda: len(page.get_by_label("Text", exact=True).input_value()) > len(TEXT))
    assert page.get_by_label("Text", exact=True).input_value().startswith(TEXT)


def test_hostile_tokens_are_drawn_and_not_obeyed(visit):
    page = visit()
    run(page, HOSTILE[0] + HOSTILE[1] + HOSTILE[2])
    select(page, 8)
    page.get_by_text("What the trace is made of", exact=True).click()
    page.get_by_text("Heads and sources by").wait_for()
    idle(page)
    assert page.locator("img[src=x]").count() == 0
    assert page.evaluate("[...document.scripts].every(script => !script.textContent.includes('alert'))")
    picture(page, "selected-hostile")


@pytest.mark.parametrize("options", [PHONE, {"color_scheme": "dark"}], ids=["phone", "dark"])
def test_it_fits_a_phone_and_is_read_in_the_dark(visit, options):
    page = visit(options)
    run(page, TEXT)
    select(page)
    for view in ("Likeliest tokens", "What the trace is made of", "Fidelity against size"):
        page.get_by_text(view, exact=True).click()
        idle(page)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    picture(page, "selected-phone" if "is_mobile" in options else "selected-dark")
