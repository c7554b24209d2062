"""The other pages in Chromium, and a saved file opened by somebody else."""

import json
import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.browsing import PHONE, TEXT, done, expand, go, idle, options, picture, press, run, said, select, until

pytestmark = pytest.mark.browser


def entry(page, text):
    """What History has of the answer about ``text``, with its buttons."""
    blocks = page.get_by_test_id("stVerticalBlock").filter(has_text=text)
    return blocks.filter(has=page.get_by_role("button", name="Open", exact=True)).last


def test_history_lists_opens_and_deletes(visit):
    page = visit()
    text = "A text that is kept."
    run(page, text)
    count = options(page).count()
    go(page, "History")
    entry(page, text).wait_for()
    picture(page, "history")
    entry(page, text).get_by_role("button", name="Open", exact=True).click()
    until(page, lambda: options(page).count() == count)
    assert page.get_by_label("Text", exact=True).input_value() == text
    assert "0 replays" in said(page)
    go(page, "History")
    entry(page, text).wait_for()
    # Counted once all of them are there.
    idle(page)
    answers = page.get_by_role("button", name="Delete", exact=True).count()
    entry(page, text).get_by_role("button", name="Delete", exact=True).click()
    until(page, lambda: page.get_by_role("button", name="Delete", exact=True).count() == answers - 1)
    assert text not in said(page)


def test_the_method_is_explained(visit):
    for looks, name in (({}, "method"), ({"color_scheme": "dark"}, "method-dark"), (PHONE, "method-phone")):
        page = visit(looks)
        if looks is PHONE:
            page.goto(page.url.split("?")[0] + "method")
            page.get_by_role("heading", name="Method", exact=True).wait_for()
            idle(page)
        else:
            go(page, "Method")
        page.get_by_test_id("stVegaLiteChart").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        picture(page, name)


def test_a_saved_file_is_opened_by_somebody_else(visit, tmp_path):
    page = visit()
    run(page, TEXT)
    select(page, 3)
    expand(page, "Table and files")
    page.get_by_role("radio", name="entropy").click()
    page.wait_for_url(re.compile("tint=entropy"))
    idle(page)
    with page.expect_download() as download:
        press(page, "JSON")
    saved = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    other = visit()
    other.locator("input[type=file]").set_input_files(
        {"name": "saved.json", "mimeType": "application/json", "buffer": json.dumps(saved).encode()}
    )
    other.get_by_text("Opened from a file").wait_for()
    assert saved["view"] == {"tint": "entropy", "token": "2"}
    assert other.get_by_role("radio", name="entropy").is_checked()
    assert said(other).count("Predicting") == 1
    cells = options(other).evaluate_all("cells => cells.map(cell => [cell.ariaLabel, cell.style.backgroundColor])")
    assert cells == options(page).evaluate_all(
        "cells => cells.map(cell => [cell.ariaLabel, cell.style.backgroundColor])"
    )
    other.locator("input[type=file]").set_input_files(
        {"name": "wrong.json", "mimeType": "application/json", "buffer": b'{"schema": "something/9"}'}
    )
    other.get_by_role("alert").wait_for()
    assert options(other).count() == len(cells)


def test_a_long_text_is_there_again_after_a_reload_though_nothing_was_run(visit):
    page = visit()
    box, text = page.get_by_label("Text", exact=True), "A text of more than a link holds. " * 60
    box.fill(text)
    page.wait_for_url(re.compile("kept="))
    idle(page)
    page.reload()
    # For a moment there may be two: the one before the link was read goes.
    until(page, lambda: box.count() == 1 and box.input_value() == text)
    page.wait_for_url(re.compile("kept="))
    idle(page)
    assert "is not kept on this machine" not in said(page)
    box.fill("A short one.")
    page.wait_for_url(re.compile("text=A"))
    idle(page)
    assert box.input_value() == "A short one."


def test_a_link_brings_somebody_else_to_the_same_view(visit):
    page = visit()
    run(page, TEXT)
    select(page, 3)
    page.get_by_role("radio", name="entropy").click()
    page.get_by_role("radio", name="word", exact=True).click()
    page.get_by_text("Likeliest tokens", exact=True).click()
    page.get_by_text("Same top token").wait_for()
    slider = page.get_by_role("slider", name="Size of the trace")
    slider.focus()
    for _ in range(3):
        slider.press("ArrowLeft")
    page.wait_for_url(re.compile("size="))
    expand(page, "What if")
    press(page, "Switch")
    page.get_by_text(re.compile("random edges switched off instead")).wait_for()
    page.wait_for_url(re.compile("switches="))
    idle(page)
    page.get_by_role("listbox", name="States of the circuit").get_by_role("option").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("picked="))
    idle(page)
    link = dict(parse_qsl(urlsplit(page.url).query))
    other = visit(**link)
    run(other)
    other.get_by_text(re.compile("random edges switched off instead")).wait_for()
    idle(other)
    assert dict(parse_qsl(urlsplit(other.url).query)) == link
    for name in ("entropy", "word", "Likeliest tokens"):
        assert other.get_by_role("radio", name=name, exact=True).is_checked()
    described = [[line for line in said(at).splitlines() if "Below: the trace of" in line] for at in (page, other)]
    assert described[0] == described[1] and len(described[0]) == 1
    assert other.get_by_text("Would predict now").is_visible()
    assert "What if: 1 switched" in said(other) and "L0.H0 off" in said(other)
    cells = "cells => cells.map(cell => [cell.ariaLabel, cell.style.backgroundColor])"
    assert options(other).evaluate_all(cells) == options(page).evaluate_all(cells)
    picture(other, "linked")


def tab_to(page, wanted):
    """Presses Tab until ``wanted`` has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if wanted.evaluate("node => node.getRootNode().activeElement === node"):
            return
    raise AssertionError("it was not reached with the keys")


def test_the_whole_way_is_walked_with_the_keys_alone(visit):
    page = visit()
    tab_to(page, page.get_by_label("Text", exact=True))
    page.keyboard.press("Control+A")
    page.keyboard.type(TEXT)
    tab_to(page, page.get_by_role("button", name="Run", exact=True))
    page.keyboard.press("Enter")
    done(page)
    tab_to(page, options(page).first)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    shown = page.get_by_text("Below: the trace of").last
    shown.wait_for()
    page.locator(".stage").wait_for()
    idle(page)
    before = shown.inner_text()
    tab_to(page, page.get_by_role("slider", name="Size of the trace"))
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    until(page, lambda: shown.count() and shown.inner_text() != before)
    idle(page)
    states = page.get_by_role("listbox", name="States of the circuit").get_by_role("option")
    tab_to(page, states.first)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.get_by_text("Would predict now").wait_for()
    what_if = page.get_by_test_id("stExpander").filter(has_text="What if").last
    tab_to(page, what_if.locator("summary"))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_role("button", name="Switch", exact=True))
    page.keyboard.press("Enter")
    page.get_by_text(re.compile("random edges switched off instead")).wait_for()
    picture(page, "keys-alone")
