"""What the browser's tests share: one Chromium, one served app, and visitors who may ask nothing of any other host."""

import json
import os
from urllib.parse import urlencode, urljoin, urlsplit

import pytest

from tests import browsing
from tests.browsing import CHROMIUM, MILLISECONDS, until
from tests.test_compare_pages import other_folder  # noqa: F401
from tests.test_takehome import made  # noqa: F401


@pytest.fixture(scope="package")
def chromium(in_summary):
    """One browser for all; without one, these tests are left out, and in continuous integration they fail."""
    if CHROMIUM is None:
        leave_out("no Chromium: apt-get install chromium", in_summary)
    sync_playwright = pytest.importorskip("playwright.sync_api").sync_playwright
    with sync_playwright() as playwright:
        # It finds no other machine: what a page asks elsewhere fails, and is seen by `visit`.
        nowhere = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
        arguments = ["--no-sandbox", "--process-per-site", nowhere]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


def leave_out(reason, in_summary):
    """Skips every test in a browser and says why at the end; where ``CI`` is set, as ``.ci/run`` does, fails them."""
    if os.environ.get("CI"):
        pytest.fail(f"every test in a browser has to run here: {reason}")
    in_summary("left out", [f"every test in a browser: {reason}"])
    pytest.skip(reason)


@pytest.fixture(scope="package")
def served(chromium, tmp_path_factory):
    """The address of the app."""
    with browsing.served(tmp_path_factory.mktemp("server") / "log.txt") as address:
        yield address


@pytest.fixture(scope="package")
def visitors(chromium, served):
    """A function that gives a context of the browser to a new visitor who looks so: nothing is known of them.

    All who look the same share one, which reads and compiles the app's scripts once, not for each of them.
    """
    contexts = {}

    def one_who(**looks):
        key = json.dumps(looks, sort_keys=True)
        if key not in contexts:
            contexts[key] = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **looks})
            contexts[key].set_default_timeout(MILLISECONDS)
            # A page that stays, and with it the process in which the others are opened.
            contexts[key].new_page().goto(urljoin(served, "_stcore/health"))
        context = contexts[key]
        context.clear_cookies()
        context.pages[0].evaluate("localStorage.clear()")
        return context

    return one_who


@pytest.fixture
def visit(visitors, served, tiny_folder):
    """Opens the page as a new visitor; a request to any other host, or an error in the page, fails the test."""
    contexts, elsewhere, errors = set(), [], []

    def heard(request):
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != urlsplit(served).netloc:
            elsewhere.append(request.url)

    def opened(looks=None, **link):
        context = visitors(**(looks or {}))
        if context not in contexts:
            contexts.add(context)
            context.on("request", heard)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", lambda dialog: errors.append(f"a dialog: {dialog.message}"))
        page.goto(served + "?" + urlencode({"model": tiny_folder, **link}))
        until(page, lambda: page.get_by_role("button", name="Run", exact=True, disabled=False).count() == 1)
        return page

    yield opened
    for context in contexts:
        for page in context.pages[1:]:
            page.close()
        context.remove_listener("request", heard)
    assert (elsewhere, errors) == ([], [])
