"""The first view in Chromium: there before anything else, gone when the page is there."""

import pytest

from tests.browsing import options, picture

pytestmark = pytest.mark.browser


@pytest.fixture
def newcomer(chromium, served):
    """Opens the app's bare address, and waits for nothing; with the page's own code kept from the server, or not."""
    contexts = []

    def opened(answered=True, **options):
        contexts.append(chromium.new_context(viewport={"width": 1280, "height": 900}, **options))
        page = contexts[-1].new_page()
        if not answered:
            page.route_web_socket("**/*", lambda socket: None)
        page.goto(served, wait_until="commit")
        return page

    yield opened
    for context in contexts:
        context.close()


def test_the_example_is_there_before_the_page_and_the_page_takes_its_place(newcomer):
    page = newcomer()
    page.locator("#first-view .text span").nth(1).wait_for()
    first = page.locator("#first-view .text").inner_text().replace("→", "")
    options(page).nth(1).wait_for()
    assert page.locator("#first-view").count() == 0
    shown = "".join(options(page).all_inner_texts()).replace("·", " ")
    assert shown.split() == first.split()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_needs_no_answer_from_the_page(newcomer, scheme):
    page = newcomer(answered=False, color_scheme=scheme)
    view = page.locator("#first-view")
    view.get_by_role("heading", name="Density explorer").wait_for()
    assert view.get_by_text("Precomputed").is_visible()
    background = view.evaluate("view => getComputedStyle(view).backgroundColor")
    assert background == {"light": "rgb(252, 252, 251)", "dark": "rgb(22, 25, 28)"}[scheme]
    picture(page, f"first-view-{scheme}")


def test_it_gives_way_to_a_message(newcomer):
    page = newcomer(answered=False)
    page.locator("#first-view").wait_for()
    page.locator("#root > *").first.wait_for(state="attached")
    assert page.locator("#first-view").is_visible()
    page.evaluate("document.querySelector('#root').insertAdjacentHTML('beforeend', '<p data-testid=stAlert>No</p>')")
    page.locator("#first-view").wait_for(state="detached")
