"""The app served as a user would serve it, on a free port, the browser it is opened in, and what a user does there.

Pictures are left in artefacts/screenshots, to be looked at.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Locator, Page

ROOT = Path(__file__).parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 60.0
MILLISECONDS = 1000 * PATIENCE
PICTURES = ROOT / "artefacts" / "screenshots"
TEXT = "Mr Abernathy opened the door."
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


@contextmanager
def served(log: Path, **environment: str) -> Iterator[str]:
    """The app's address, while it runs; what it says goes to ``log``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pages.parts.serve", "--server.port", str(port)]
    with log.open("wb") as output:
        given = {**os.environ, **environment}
        server = subprocess.Popen(command, cwd=ROOT, env=given, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until_served(f"http://127.0.0.1:{port}/_stcore/health", server, log)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait(PATIENCE)


def wait_until_served(address: str, server: subprocess.Popen, log: Path) -> None:
    """Returns once the server answers; raises with its log if it ended or never does."""
    deadline = time.monotonic() + PATIENCE
    while True:
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the app was not served: {log.read_text(encoding='utf-8')}")
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.05)


def options(page: Page) -> Locator:
    """The heatmap's tokens; a circuit below it has options of its own."""
    return page.get_by_role("listbox", name="Tokens by").get_by_role("option")


def run(page: Page, text: str | None = None) -> None:
    """Types ``text``, presses Run and waits for the end."""
    if text is not None:
        page.get_by_label("Text", exact=True).fill(text)
    press(page, "Run")
    done(page)


def done(page: Page, patience: float = PATIENCE) -> None:
    """Waits until nothing is being measured."""
    page.get_by_text(re.compile(r"^\d+ predictions?, \d+ replays?, ")).wait_for(timeout=1000 * patience)
    idle(page)
    options(page).first.wait_for()


def idle(page: Page) -> None:
    """Waits until the page's script has ended."""
    page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for()


def press(page: Page, name: str) -> None:
    """Presses a button."""
    page.get_by_role("button", name=name, exact=True).click()


def go(page: Page, name: str) -> None:
    """To another page, by the list of pages."""
    page.get_by_test_id("stSidebarNav").get_by_text(name, exact=True).click()
    page.get_by_role("heading", name=name, exact=True).wait_for()
    idle(page)


def follow(page: Page, address: str, name: str, **link: object) -> None:
    """Follows a link to another page than the explorer, once the app has named its pages."""
    page.goto(f"{address}{name}?{urlencode(link, doseq=True)}")
    page.get_by_role("button", name="Run", exact=True).wait_for()


def expand(page: Page, name: str) -> None:
    """Opens an expander, if it is not open, and waits until it has stopped growing: what is in it moves until then."""
    expander = page.get_by_test_id("stExpander").filter(has_text=name).last
    idle(page)

    def grown() -> bool:
        if not expander.evaluate("node => node.querySelector('details').open"):
            expander.locator("summary").click()
        return expander.evaluate(
            "node => node.querySelector('details').open && node.getAnimations({ subtree: true }).length === 0"
        )

    until(page, grown)


def select(page: Page, token: int = 4) -> None:
    """Clicks a token and waits until its trace is there."""
    options(page).nth(token).click()
    page.get_by_text("Below: the trace of").last.wait_for()
    page.get_by_test_id("stVegaLiteChart").first.wait_for()


def said(page: Page) -> str:
    """What is on the page, without the marks that keep directions apart."""
    return re.sub("[\u2068\u2069]", "", page.get_by_test_id("stMain").inner_text())


def until(page: Page, condition: Callable[[], bool]) -> None:
    """Waits until ``condition()`` holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        page.wait_for_timeout(50)


def picture(page: Page, name: str) -> None:
    """Leaves a screenshot."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png")


def tip(page: Page) -> Locator:
    """What is shown of the token under the pointer."""
    return page.get_by_role("tooltip").filter(has_text="density")
