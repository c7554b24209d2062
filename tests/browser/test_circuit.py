"""The circuit in Chromium, offline: drawn, hovered, clicked, walked with keys, filtered, moved, dark, on a phone."""

import re

import pytest

from tests.browsing import PHONE, idle, options, picture, run, until

pytestmark = pytest.mark.browser

TEXT = "The capital of France"
HOSTILE = "<script>alert(1)</script>\"'`\N{RIGHT-TO-LEFT OVERRIDE}ab\N{ZERO WIDTH SPACE}c"
PIXELS = "const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);"
COLOURS = f"""canvas => {{
  {PIXELS}
  const found = new Set();
  for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 200) found.add(data.slice(i, i + 3).join());
  return found.size;
}}"""
BRIGHTEST = f"""canvas => {{
  {PIXELS}
  return data.reduce((most, value, i) => (i % 4 === 0 && data[i + 3] > 250 ? Math.max(most, value) : most), 0);
}}"""


def shown(page, text=TEXT, token=-1):
    """The graph of the prediction of a token of ``text``, once it is there."""
    run(page, text)
    options(page).nth(token).click()
    stage = page.locator(".stage")
    stage.wait_for()
    idle(page)
    stage.evaluate("stage => stage.scrollIntoView({ block: 'center' })")
    until(page, lambda: states(page).first.evaluate("state => state.style.transform") != "")
    return stage


def states(page):
    return page.get_by_role("listbox", name="States of the circuit").get_by_role("option")


def place(state):
    """Where a state is, once the picture rests."""
    before = None
    while (box := state.bounding_box()) != before:
        before = box
        state.page.wait_for_timeout(150)
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def tip(page):
    return page.get_by_role("tooltip").filter(has_text="click")


def find_edge(page, name):
    """Moves the mouse about, beside the states, until the tip is of an edge whose name matches."""
    place(states(page).first)
    for state in states(page).all()[:6]:
        box = state.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        for across in range(-30, 31, 3):
            for down in (8, 14, 20):
                page.mouse.move(x + across, y + down)
                if tip(page).is_visible() and re.search(name, tip(page).inner_text()):
                    return x + across, y + down
    raise AssertionError(f"no edge named {name} was met")


def test_the_circuit_is_drawn_and_a_clicked_state_opens(visit):
    page = visit()
    stage = shown(page)
    assert stage.locator("canvas").first.evaluate(COLOURS) > 5
    assert re.search(r"edges", page.locator(".said").inner_text())
    second = states(page).nth(1)
    x, y = place(second)
    page.mouse.move(x, y)
    assert "edges drawn" in tip(page).inner_text()
    page.mouse.click(x, y)
    page.get_by_text("Would predict now").wait_for()
    assert second.get_attribute("aria-selected") == "true"
    page.locator("canvas.marks, svg.marks").last.wait_for()
    picture(page, "circuit-state")


def test_states_are_reached_and_opened_with_the_keys(visit):
    page = visit()
    shown(page)
    page.get_by_role("button", name="Show the whole circuit").focus()
    page.keyboard.press("Tab")
    here = "states => states.findIndex(state => state.getRootNode().activeElement === state)"
    assert states(page).evaluate_all(here) == 0
    page.keyboard.press("ArrowDown")
    assert states(page).evaluate_all(here) == 1
    label = states(page).nth(1).get_attribute("aria-label")
    assert label in tip(page).inner_text()
    for key in ("ArrowLeft", "ArrowRight", "ArrowUp", "End", "Home"):
        page.keyboard.press(key)
    assert states(page).evaluate_all(here) == 0
    assert states(page).evaluate_all("states => states.filter(state => state.tabIndex === 0).length") == 1
    page.keyboard.press("+")
    page.keyboard.press("0")
    page.keyboard.press("Enter")
    page.get_by_text("Would predict now").wait_for()
    assert states(page).evaluate_all(here) == 0


def test_an_edge_says_what_it_is_opens_and_is_switched_off(visit):
    page = visit()
    shown(page)
    x, y = find_edge(page, r"L\d+\.MLP")
    assert re.search(r"importance\s+[\d.]+%\s+enters at\s+[\d.e-]+", tip(page).inner_text())
    page.mouse.click(x, y)
    page.get_by_text("Strongest neurons").wait_for()
    idle(page)
    page.get_by_role("checkbox", name="MLP").uncheck()
    page.get_by_role("checkbox", name="Residual").uncheck()
    x, y = find_edge(page, r"L\d+\.H\d+")
    page.mouse.click(x, y)
    page.get_by_text("Attention of the head").wait_for()
    idle(page)
    page.mouse.move(5, 5)
    page.get_by_role("button", name="This edge").click()
    what_if = page.get_by_test_id("stExpander").filter(has_text="What if: 1 switched").last
    what_if.get_by_text(re.compile("random edges switched off instead")).wait_for()
    assert what_if.evaluate("node => node.querySelector('details').open")
    until(page, lambda: page.get_by_role("button", name="This edge").is_disabled())
    picture(page, "circuit-edge")


def test_filters_answer_in_the_page(visit):
    page = visit()
    shown(page)
    said, count = page.locator(".said"), states(page).count()
    before = said.inner_text()
    page.get_by_label("Reads from").select_option(index=1)
    assert "of them filtered out" in said.inner_text()
    until(page, lambda: states(page).count() < count)
    page.get_by_label("Reads from").select_option(index=0)
    assert said.inner_text() == before
    for name, narrow, wide in (("Layers from", 1, 0), ("to", 0, 2), ("Head", 1, 0)):
        choice = page.locator(".choice", has_text=re.compile(f"^{name}")).locator("select")
        choice.select_option(index=narrow)
        assert "of them filtered out" in said.inner_text()
        choice.select_option(index=wide)
    assert said.inner_text() == before
    page.locator(".choice", has_text="Edges").locator("select").select_option(label="summed by pair")
    find_edge(page, r"\d+ edges, importance [\d.]+% together")


def test_the_graph_is_moved_and_zoomed_and_put_back(visit):
    page = visit()
    stage = shown(page)
    first, last = states(page).first, states(page).last
    start = place(first), place(last)
    box = stage.bounding_box()
    x, y = box["x"] + box["width"] / 3, box["y"] + box["height"] / 3
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 40, y + 30, steps=4)
    page.mouse.up()
    assert place(first) == pytest.approx((start[0][0] - 40, start[0][1] + 30), abs=1)
    page.mouse.wheel(0, -240)
    # The first is above the last; they come apart.
    until(page, lambda: place(last)[1] - place(first)[1] > 1.2 * (start[1][1] - start[0][1]))
    page.get_by_role("button", name="Show the whole circuit").click()
    assert (place(first), place(last)) == (pytest.approx(start[0], abs=1), pytest.approx(start[1], abs=1))
    # A page that is scrolled past the graph is not held up by it.
    page.mouse.move(x, 5)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -100)
    assert place(last)[1] - place(first)[1] == pytest.approx(start[1][1] - start[0][1], abs=1)


def test_more_edges_are_drawn_when_asked(visit):
    page = visit()
    shown(page, "The capital of France is Paris, and the capital of Italy is", token=-1)
    before = page.locator(".said").inner_text()
    slider = page.get_by_role("slider", name="Edges to draw")
    slider.focus()
    slider.press("End")
    said = page.locator(".said")
    # For a moment there are two: the one that goes and the one that comes.
    until(page, lambda: said.count() == 1 and said.inner_text() != before)
    assert int(re.search(r"[\d,]+", said.inner_text())[0].replace(",", "")) > 400


def test_hostile_tokens_are_shown_and_not_obeyed(visit):
    page = visit()
    shown(page, HOSTILE)
    labels = " ".join(states(page).evaluate_all("all => all.map(state => state.getAttribute('aria-label'))"))
    assert not set("\u202e\u200b") & set(labels)
    assert "<" in labels and '"' in labels
    embeddings = [state for state in states(page).all() if "embedding" in state.get_attribute("aria-label")]
    assert embeddings
    x, y = place(embeddings[0])
    page.mouse.move(x, y)
    assert tip(page).inner_text().startswith(embeddings[0].get_attribute("aria-label"))
    page.mouse.click(x, y)
    page.get_by_text("Would predict now").wait_for()
    assert page.evaluate("[...document.scripts].every(script => !script.textContent.includes('alert'))")
    picture(page, "circuit-hostile")


def test_the_dark_graph_is_drawn_in_the_theme_s_colours(visit):
    page = visit({"color_scheme": "dark"})
    stage = shown(page)
    # The text of the axes is light.
    assert stage.locator("canvas").first.evaluate(BRIGHTEST) > 200
    picture(page, "circuit-dark")


def test_the_graph_fits_a_phone_and_takes_a_tap(visit):
    page = visit(PHONE)
    shown(page)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.touchscreen.tap(*place(states(page).nth(1)))
    page.get_by_text("Would predict now").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    picture(page, "circuit-phone")


def test_two_fingers_move_and_zoom_the_graph(visit):
    page = visit(PHONE)
    stage = shown(page)
    first, last = states(page).first, states(page).last
    before = place(last)[1] - place(first)[1]
    box = stage.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)

    def fingers(kind, *heights):
        points = [{"x": x, "y": y + height, "id": number} for number, height in enumerate(heights)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", -40, 40)
    for apart in range(45, 85, 5):
        fingers("touchMove", -apart, apart)
    fingers("touchEnd")
    assert place(last)[1] - place(first)[1] == pytest.approx(2 * before, rel=0.1)
    start = place(first)
    fingers("touchStart", 0)
    for down in range(5, 65, 5):
        fingers("touchMove", down)
    fingers("touchEnd")
    assert place(first)[1] - start[1] == pytest.approx(60, abs=15)
    # Neither is taken for a tap.
    assert page.get_by_text("Would predict now").count() == 0
