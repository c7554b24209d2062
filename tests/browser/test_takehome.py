"""What was taken home, opened in Chromium from the disk with the network off: whole, quiet, and every text a text."""

import json

import pytest

from density import report, takehome
from tests.browsing import picture
from tests.test_takehome import TEXTS, with_texts

pytestmark = pytest.mark.browser


@pytest.fixture
def opened(chromium, tmp_path):
    """Opens a page from the disk; a request, a dialog or an error in it fails the test."""
    asked, errors, contexts = [], [], []

    def open_file(name, content):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        context = chromium.new_context(viewport={"width": 1280, "height": 900}, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: errors.append(f"a dialog: {dialog.message}"))
        page.goto(path.as_uri())
        assert asked[len(contexts) - 1 :] == [path.as_uri()]
        return page

    yield open_file
    assert errors == [] and len(asked) == len(contexts)
    for context in contexts:
        context.close()


@pytest.mark.parametrize("text", [TEXTS[at] for at in (0, 1, 4, 7, 9)])
def test_a_circuit_opens_offline_and_shows_its_texts(opened, made, text):
    found = with_texts(made[1], [text])
    page = opened("circuit.html", takehome.circuit_html(found))
    assert page.evaluate("network.body.data.nodes.length") == takehome.graph(found).number_of_nodes()
    assert page.evaluate("network.body.data.edges.length") == len(found["circuit"]["edges"])
    assert page.locator("p").first.inner_text() == takehome.describe(found)
    # The pointer on the lowest state of the first token.
    place = page.evaluate(
        """() => {
            const node = network.body.data.nodes.get().find((node) => node.label.trim());
            const at = network.canvasToDOM(network.getPosition(node.id));
            const box = document.getElementById("mynetwork").getBoundingClientRect();
            return { x: box.left + at.x, y: box.top + at.y, title: node.title };
        }"""
    )
    page.mouse.move(place["x"] + 1, place["y"])
    tip = page.locator(".popup:visible, .vis-tooltip:visible, div.vis-network-tooltip:visible").first
    tip.wait_for()
    assert tip.evaluate("tip => tip.textContent") == place["title"]
    assert tip.evaluate("tip => tip.children.length") == 0
    assert page.locator("img, iframe, textarea").count() == 0
    picture(page, f"taken-circuit-{TEXTS.index(text)}")


def test_a_report_opens_offline_and_shows_its_texts(opened, made):
    profile, found = with_texts(made[0]), with_texts(made[1])
    page = opened("report.html", report.report(profile, found, {"density": "</dd><script>alert(1)</script>"}))
    assert page.locator("script, img, iframe, textarea, link").count() == 0
    assert page.locator("svg").count() == len(report.charts(profile, found)) + 1
    boxes = page.locator("svg").evaluate_all("all => all.map(one => one.getBoundingClientRect().width)")
    assert min(boxes) > 100 and max(boxes) <= 1280
    tokens = page.locator(".text span").evaluate_all("all => all.map(one => one.title)")
    assert len(tokens) == len(profile["tokens"]) + 1
    assert "</dd><script>alert(1)</script>" in page.locator("dd").inner_text()
    colours = page.locator(".text span").evaluate_all("all => all.map(one => one.style.backgroundColor)")
    assert colours[0] == "" and all(colours[1:])
    picture(page, "taken-report")


def test_drawings_open_offline(opened, made):
    profile, found = with_texts(made[0]), with_texts(made[1])
    drawings = {"circuit": lambda: takehome.circuit_chart(found), **report.charts(profile, found)}
    for name, chart in drawings.items():
        page = opened(f"{name}.svg", takehome.svg(chart()))
        assert page.evaluate("document.documentElement.tagName") == "svg"
        assert page.evaluate("document.querySelectorAll('script, image, a, foreignObject').length") == 0
        picture(page, "taken-" + json.dumps(name).strip('"').replace(" ", "-").replace(",", "").lower())
