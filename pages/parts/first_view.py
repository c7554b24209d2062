"""What a new visitor sees first: the first example, tinted, in the very page that brings Streamlit's own code.

That code has to come, start, ask for the page and draw it before anything of the page is seen, which takes seconds. The
first view lies over it until the page's heatmap is drawn. A link that says what to show has none.
"""

from functools import cache
from html import escape
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse
from starlette.routing import Route
from streamlit import config, file_util
from streamlit.web.server.starlette import starlette_app

from density import heatmap
from pages.parts.examples import EXAMPLES, origin, precomputed
from pages.parts.page import ABOUT, ASSETS, TITLE

FOLDER = ASSETS / "first_view"
NOT_KEPT = {"Cache-Control": "no-cache"}
COLOURS = {"background": "backgroundColor", "sidebar": "secondaryBackgroundColor", "text": "textColor"}


def serve_first_view() -> None:
    """From now on a server that Streamlit makes answers at its root, wherever that is, with the first view."""
    routes = starlette_app.create_streamlit_routes
    starlette_app.create_streamlit_routes = lambda runtime: [*own_routes(), *routes(runtime)]


def own_routes() -> list[Route]:
    """What is answered here instead of by Streamlit."""
    base = config.get_option("server.baseUrlPath").strip("/")
    root = f"/{base}/" if base else "/"
    return [Route(root, answer), Route(f"{root}first-view.js", script)]


def answer(request: Request) -> HTMLResponse:
    """Streamlit's own page, with the first view in it unless a link says what to show."""
    return HTMLResponse(page(first=not request.url.query), headers=NOT_KEPT)


def script(request: Request) -> FileResponse:
    """What takes the first view away: a file, since a policy may allow no script in a page."""
    return FileResponse(FOLDER / "view.js", headers=NOT_KEPT)


@cache
def page(first: bool) -> str:
    """Streamlit's own page, with the first view or without it."""
    own = (Path(file_util.get_static_dir()) / "index.html").read_text(encoding="utf-8")
    before, root, after = own.partition('<div id="root"></div>')
    assert root, "Streamlit's page has no place that its code draws into"
    return before + root + view() + after if first else own


def view() -> str:
    """The first view as HTML."""
    document = precomputed(EXAMPLES[0]["text"])
    assert document is not None, "the first example is not precomputed"
    colours = "".join(
        f"--{name}-{theme}: {config.get_option(f'theme.{theme}.{option}')};"
        for theme in ("light", "dark")
        for name, option in COLOURS.items()
    )
    style = (FOLDER / "view.css").read_text(encoding="utf-8")
    return (
        f'<div id="first-view"><style>{style} #first-view {{ {colours} {heatmap.STYLE} }}</style>'
        f'<h1>{escape(TITLE)}</h1><p class="note">{escape(ABOUT)}</p>'
        f'<p class="note"><b>Precomputed</b> {escape(origin(document))}. The page is on its way.</p>'
        f'{heatmap.text(document)}</div><script src="./first-view.js" defer></script>'
    )
