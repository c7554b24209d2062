"""How fast the page is, in a browser, on the default model already fetched: ``python -m bench.page``; prints one table.

A measure is a function from a `Visit` to rows; to add one, write it and name it in `MEASURES`.
"""

import argparse
import itertools
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Browser, Locator, Page, sync_playwright
from rich.console import Console
from rich.table import Table

from density.home import home
from density.models import DEFAULT, fetch
from density.store import FILE
from tests.browsing import CHROMIUM, MILLISECONDS, idle, options, press, served

PASSAGE = (Path(__file__).parent / "passage.txt").read_text(encoding="utf-8").split()
WINDOW = {"width": 1280, "height": 900}
# Words of the passage that stand for about so many tokens; how many there were is in the row.
SHORT, MIDDLING, LONG, FIVE_HUNDRED = 9, 19, 37, 380


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        what: That was measured.
        values: One a round; the table has their median.
        unit: Of the values.
        aim: What it should be, in words; empty for none.
    """

    what: str
    values: list[float]
    unit: str = "s"
    aim: str = ""


@dataclass
class Visit:
    """The app served, a page of it open with the model in memory, and how often to measure.

    Attributes:
        browser: To open others in.
        address: Of the app.
        page: Open on it.
        rounds: Values a row should have.
        starts: Words of the passage that texts may begin at, so that none is asked for twice.
    """

    browser: Browser
    address: str
    page: Page
    rounds: int
    starts: Iterator[int]

    def text(self, words: int) -> str:
        """A text that was not read before."""
        start = next(self.starts)
        return " ".join(itertools.islice(itertools.cycle(PASSAGE), start, start + words))

    def tokens(self) -> Locator:
        """The heatmap's cells."""
        return options(self.page)

    def ask(self, text: str) -> None:
        """Types ``text`` and waits until its tokens are counted."""
        before = self.page.url
        self.page.get_by_label("Text", exact=True).fill(text)
        self.page.get_by_label("Text", exact=True).press("Control+Enter")
        self.page.wait_for_url(lambda url: url != before)
        self.settle()

    def run(self) -> None:
        """Presses Run."""
        press(self.page, "Run")

    def settle(self) -> None:
        """Waits until the page's script has ended."""
        idle(self.page)

    def until(self, expression: str, given: object = None) -> float:
        """Waits until a JavaScript function of the heatmap's cells, and of ``given``, is true; when that was."""
        look = """([test, given]) => {
            const found = [...document.querySelectorAll("*")].map((at) => at.shadowRoot?.querySelector(".text"));
            const cells = [...(found.find(Boolean)?.querySelectorAll(".cell") ?? [])];
            return cells.length > 0 && eval(test)(cells, given);
        }"""
        self.page.wait_for_function(look, arg=[expression, given], polling="raf", timeout=MILLISECONDS)
        return time.perf_counter()


SHOWS = '(cells, text) => cells.slice(0, -1).map((cell) => cell.textContent).join("").startsWith(text)'
ANY_COLOURED = f"(cells, text) => ({SHOWS})(cells, text) && cells.some((cell) => cell.style.backgroundColor)"
ALL_COLOURED = f"(cells, text) => ({SHOWS})(cells, text) && cells.slice(1).every((cell) => cell.style.backgroundColor)"
AT_FIDELITY = """(cells, share) => cells[0].parentElement.closest("[role=listbox]").ariaLabel.endsWith(share)
    && cells.slice(1).every((cell) => cell.style.backgroundColor)"""

DONE = re.compile(r"^\d+ predictions?, ")
# What the circuit's states are called, in one string: another for every prediction.
STATES = """() => [...document.querySelectorAll("*")].flatMap((at) => [
    ...(at.shadowRoot?.querySelectorAll(".circuit [role=option]") ?? [])
]).map((state) => state.ariaLabel).join()"""
# The circuit dragged about for forty frames; how many of them there were a second.
PAN = """async () => {
    const roots = [...document.querySelectorAll("*")].map((at) => at.shadowRoot);
    const stage = roots.map((at) => at?.querySelector(".stage")).find(Boolean);
    const box = stage.getBoundingClientRect();
    const send = (type, x, y) => stage.dispatchEvent(new PointerEvent(type, {
        bubbles: true, pointerId: 1, pointerType: "mouse", button: 0, buttons: 1, clientX: x, clientY: y }));
    const x = box.left + box.width / 2, y = box.top + box.height / 2;
    stage.setPointerCapture = () => {};
    send("pointerdown", x, y);
    const started = performance.now();
    for (let step = 1; step <= 40; step++) {
        send("pointermove", x + 60 * Math.sin(step / 5), y + 40 * Math.cos(step / 5));
        await new Promise(requestAnimationFrame);
    }
    const rate = 40000 / (performance.now() - started);
    send("pointerup", x, y);
    return rate;
}"""


def measure_cold_start(visit: Visit) -> list[Row]:
    """From starting the server, and from opening the page, to what is seen first and to where Run can be pressed.

    The precomputed example is seen twice: in what the server answers first, and then in the page, where it can be
    clicked.
    """
    found: dict[str, list[float]] = {}

    def took(what: str, since: float) -> None:
        found.setdefault(what, []).append(time.perf_counter() - since)

    def see(page: Page, start: str, since: float) -> None:
        page.locator("#first-view .text span").nth(1).wait_for()
        took(f"{start} to the precomputed example on screen", since)
        options(page).nth(1).wait_for()
        took(f"{start} to the same in the page, where it can be clicked", since)

    for _ in range(visit.rounds):
        started = time.perf_counter()
        with (
            nothing_kept() as place,
            served(place / "log.txt", DENSITY_HOME=str(place)) as address,
            opened(visit.browser, address) as page,
        ):
            see(page, "cold start", started)
            enabled(page).wait_for()
            took("cold start to the page interactive (Run can be pressed)", started)
    for _ in range(visit.rounds):
        opening = time.perf_counter()
        with opened(visit.browser, visit.address) as page:
            see(page, "a new visitor, server warm,", opening)
    aims = {"a new visitor, server warm, to the precomputed example on screen": "under 1 s"}
    return [Row(what, values, aim=aims.get(what, "")) for what, values in found.items()]


def measure_answers(visit: Visit) -> list[Row]:
    """From pressing Run to the first and to the last token coloured, of texts that were not read before."""
    rows = []
    for words in (SHORT, LONG):
        first, last, counts = [], [], []
        for _ in range(visit.rounds):
            text = visit.text(words)
            visit.ask(text)
            started = time.perf_counter()
            visit.run()
            first.append(visit.until(ANY_COLOURED, text) - started)
            last.append(visit.until(ALL_COLOURED, text) - started)
            visit.settle()
            counts.append(visit.tokens().count() - 1)
        tokens = f"{statistics.median(counts):.0f} tokens"
        rows += [Row(f"first token coloured, {tokens}", first), Row(f"last token coloured, {tokens}", last)]
    return rows


def measure_fidelity(visit: Visit) -> list[Row]:
    """From a key on the slider to all tokens in their new colours: a fidelity met before, and a new one."""
    slider = visit.page.get_by_role("slider", name="Fidelity")
    slider.focus()
    fresh, known = [], []

    def press(key: str, share: int) -> float:
        started = time.perf_counter()
        slider.press(key)
        taken = visit.until(AT_FIDELITY, f"fidelity {share}%") - started
        visit.settle()
        return taken

    for step in range(visit.rounds):
        fresh.append(press("ArrowRight", 81 + step))
    for step in reversed(range(visit.rounds)):
        known.append(press("ArrowLeft", 80 + step))
    return [
        Row("another fidelity, all of it measured before", known, aim="under 0.3 s"),
        Row("another fidelity, a few replays lacking", fresh),
    ]


def measure_click(visit: Visit) -> list[Row]:
    """From a click on a token to the section about it."""
    heading = visit.page.get_by_role("heading", name=re.compile("^.?Predicting"))
    taken = []
    for index in range(2, 2 + visit.rounds):
        before = heading.inner_text() if heading.count() else ""
        visit.settle()
        started = time.perf_counter()
        visit.tokens().nth(index).click()
        look = """before => [...document.querySelectorAll("h1, h2, h3")].some(
            (at) => at.innerText.includes("Predicting") && at.innerText !== before)"""
        visit.page.wait_for_function(look, arg=before, polling="raf", timeout=MILLISECONDS)
        taken.append(time.perf_counter() - started)
    return [Row("token click to the selected section drawn", taken)]


def measure_circuit(visit: Visit) -> list[Row]:
    """From a click on a token to its circuit drawn, and how fluidly circuits of 400 and 2,000 edges are moved."""
    text = visit.text(MIDDLING)
    visit.ask(text)
    visit.run()
    visit.until(ALL_COLOURED, text)
    visit.settle()
    count, taken = visit.tokens().count() - 1, []
    for index in range(count - visit.rounds, count):
        before = visit.page.evaluate(STATES)
        started = time.perf_counter()
        visit.tokens().nth(index).click()
        visit.page.wait_for_function(f"before => ({STATES})() !== before", arg=before, polling="raf")
        taken.append(time.perf_counter() - started)
        visit.settle()
    rows = [Row(f"token click to its circuit drawn, {count} tokens", taken, aim="under 1.5 s")]
    said = visit.page.locator(".said")
    for wanted in (400, 2000):
        slider = visit.page.get_by_role("slider", name="Edges to draw")
        slider.focus()
        before = said.inner_text()
        if wanted == 2000:
            slider.press("End")
            visit.page.wait_for_function(
                "before => [...document.querySelectorAll('*')].some((at) => "
                "{ const said = at.shadowRoot?.querySelector('.said'); return said && said.innerText !== before; })",
                arg=before,
            )
            visit.settle()
        drawn = int(re.search(r"[\d,]+", said.inner_text())[0].replace(",", ""))  # type: ignore[index]
        visit.page.locator(".stage").scroll_into_view_if_needed()
        rates = [visit.page.evaluate(PAN) for _ in range(visit.rounds)]
        rows.append(Row(f"moving a circuit of {drawn:,} edges", rates, "frames/s", "30 or better"))
    return rows


def measure_switch(visit: Visit) -> list[Row]:
    """From switching a head off to the new prediction; of the token chosen last, and a layer at a time."""
    page, taken = visit.page, []
    expander = page.get_by_test_id("stExpander").filter(has_text="What if").last
    expander.locator("summary").click()
    after = page.get_by_test_id("stMetric").filter(has_text="After")
    for layer in range(1, 1 + visit.rounds):
        expander.get_by_role("combobox", name="Layer").fill(str(layer))
        page.keyboard.press("Enter")
        visit.settle()
        started = time.perf_counter()
        press(page, "Switch")
        after.wait_for()
        taken.append(time.perf_counter() - started)
        page.get_by_text("random edges switched off instead").wait_for()
        visit.settle()
        press(page, "Clear")
        after.wait_for(state="hidden")
        visit.settle()
    count = visit.tokens().count() - 1
    return [Row(f"a head switched off to the new prediction, {count} tokens", taken, aim="under 1 s")]


def measure_five_hundred(visit: Visit) -> list[Row]:
    """A text of some five hundred tokens, its last prediction measured: drawing it, stepping, and changing its tint."""
    visit.page.get_by_text("last", exact=True).first.click()
    visit.settle()
    text = visit.text(FIVE_HUNDRED)
    visit.ask(text)
    started = time.perf_counter()
    visit.run()
    drawn = visit.until(SHOWS, text) - started
    visit.page.get_by_text(DONE).wait_for()
    visit.settle()
    visit.tokens().nth(100).focus()
    frames = """async () => {
        const roots = [...document.querySelectorAll("*")].map((at) => at.shadowRoot);
        const root = roots.find((at) => at?.querySelector(".text"));
        const started = performance.now();
        for (let step = 0; step < 40; step++) {
            root.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
            await new Promise(requestAnimationFrame);
        }
        return 40000 / (performance.now() - started);
    }"""
    rates = [visit.page.evaluate(frames) for _ in range(visit.rounds)]
    tints = []
    for name in itertools.islice(itertools.cycle(["entropy", "density"]), visit.rounds):
        started = time.perf_counter()
        visit.page.get_by_text(name, exact=True).first.click()
        named = f'cells => cells[0].closest("[role=listbox]").ariaLabel.includes("{name} of")'
        tints.append(visit.until(named) - started)
    count = visit.tokens().count() - 1
    return [
        Row(f"Run to the text on screen, {count} tokens", [drawn]),
        Row(f"stepping with the arrow keys, {count} tokens", rates, "frames/s", "30 or better"),
        Row(f"another tint, {count} tokens", tints),
    ]


MEASURES: tuple[Callable[[Visit], list[Row]], ...] = (
    measure_cold_start,
    measure_answers,
    measure_fidelity,
    measure_click,
    measure_circuit,
    measure_switch,
    measure_five_hundred,
)


@contextmanager
def nothing_kept() -> Iterator[Path]:
    """A cache folder with the models of this machine, and no results from before."""
    with tempfile.TemporaryDirectory() as folder:
        for path in home().iterdir():
            if not path.name.startswith(FILE):
                (Path(folder) / path.name).symlink_to(path)
        yield Path(folder)


@contextmanager
def opened(browser: Browser, address: str, **link: str) -> Iterator[Page]:
    """A page of the app, as a new visitor has it."""
    context = browser.new_context(viewport=WINDOW)
    context.set_default_timeout(MILLISECONDS)
    page = context.new_page()
    page.goto(address + ("?" + urlencode(link) if link else ""), wait_until="commit")
    try:
        yield page
    finally:
        context.close()


def enabled(page: Page) -> Locator:
    """The Run button, once it can be pressed."""
    return page.get_by_role("button", name="Run", exact=True, disabled=False)


def table_of(rows: list[Row]) -> Table:
    """One line a row: the median, the least and the most."""
    table = Table(title=f"the page, {DEFAULT}, this machine", title_justify="left", box=None, pad_edge=False)
    for name, justify in (
        ("what", "left"),
        ("median", "right"),
        ("least", "right"),
        ("most", "right"),
        ("aim", "left"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        shown = [
            f"{value:.2f} {row.unit}" for value in (statistics.median(row.values), min(row.values), max(row.values))
        ]
        table.add_row(row.what, *shown, row.aim)
    return table


def main() -> int:
    """Runs every measure, or those named, and prints the table; returns the exit code."""
    names = {measure.__name__.removeprefix("measure_"): measure for measure in MEASURES}
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="values a row's median is of")
    parser.add_argument("--only", choices=names, nargs="*", default=list(names), help="leave out all others")
    given = parser.parse_args()
    if CHROMIUM is None:
        print("bench.page needs Chromium: apt-get install chromium", file=sys.stderr)
        return 1
    fetch(DEFAULT)
    rows = []
    with (
        nothing_kept() as place,
        served(place / "log.txt", DENSITY_HOME=str(place)) as address,
        sync_playwright() as play,
    ):
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        with opened(browser, address) as page:
            page.get_by_text("besides the model").wait_for()
            visit = Visit(browser, address, page, given.rounds, itertools.count(0, 5))
            for name in given.only:
                rows += names[name](visit)
    Console(width=120).print(table_of(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
