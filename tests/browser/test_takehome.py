"""What is taken home, and opened in Chromium from the disk with the network off: whole, quiet, every text a text."""

import csv
import io
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import networkx as nx
import pytest

from density import report, takehome
from tests.browsing import TEXT, expand, picture, run, select
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


def holds_rows(data):
    """Whether a CSV has a row a prediction, each with what made it."""
    return all(row["revision"] and row["torch_version"] for row in csv.DictReader(io.StringIO(data.decode())))


# Of every kind of file, what shows that it is whole.
WHOLE = {
    ".json": lambda data: json.loads(data).keys() & {"schema", "graph"},
    ".csv": holds_rows,
    ".svg": lambda data: b"fidelity" in data and ElementTree.fromstring(data).tag.endswith("svg"),
    ".png": lambda data: data.startswith(b"\x89PNG") and data.endswith(b"IEND\xaeB`\x82"),
    ".graphml": lambda data: nx.read_graphml(io.BytesIO(data), force_multigraph=True).number_of_edges(),
    ".html": lambda data: b"Content-Security-Policy" in data,
}


def test_every_file_of_the_explorer_is_whole_and_its_pages_open_offline(visit, opened):
    page = visit()
    run(page, TEXT)
    select(page)
    files = {}
    for part, count in (("Table and files", 2), ("Take it home", 9)):
        expand(page, part)
        inside = page.get_by_test_id("stExpander").filter(has_text=part).last
        buttons = inside.get_by_test_id("stDownloadButton").get_by_role("button")
        assert buttons.count() == count
        for button in buttons.all():
            with page.expect_download() as download:
                button.click()
            files[download.value.suggested_filename] = Path(download.value.path()).read_bytes()
    assert len(files) == 11
    for name, data in files.items():
        assert WHOLE[Path(name).suffix](data), name
    for name, data in files.items():
        if name.endswith(".html"):
            opened(name, data.decode())


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
    drawings = {"circuit": lambda: takehome.captioned_circuit(found), **report.charts(profile, found)}
    for name, chart in drawings.items():
        page = opened(f"{name}.svg", takehome.svg(chart()))
        assert page.evaluate("document.documentElement.tagName") == "svg"
        assert page.evaluate("document.querySelectorAll('script, image, a, foreignObject').length") == 0
        # Whatever fonts are here, no text is cut.
        width = page.evaluate("document.documentElement.width.baseVal.value")
        ends = page.locator("text").evaluate_all("all => all.map(one => one.getBoundingClientRect().right)")
        assert max(ends) <= width + 1, name
        picture(page, "taken-" + json.dumps(name).strip('"').replace(" ", "-").replace(",", "").lower())
