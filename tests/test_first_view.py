"""What a new visitor is answered with before the page is there."""

import re
from pathlib import Path

from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit import config, file_util
from streamlit.web.server.starlette import starlette_app

from density.colours import tint
from pages.parts.examples import EXAMPLES, precomputed
from pages.parts.first_view import FOLDER, serve_first_view


def asked(monkeypatch, address):
    """What the server answers at an address."""
    monkeypatch.setattr(starlette_app, "create_streamlit_routes", lambda runtime: [])
    serve_first_view()
    with TestClient(Starlette(routes=starlette_app.create_streamlit_routes(None))) as client:
        return client.get(address)


def test_a_new_visitor_is_shown_the_first_example_in_its_colours(monkeypatch):
    answer = asked(monkeypatch, "/")
    document = precomputed(EXAMPLES[0]["text"])
    shown = answer.text[answer.text.index('id="first-view"') :]
    assert "<b>Precomputed</b> with smollm2-135m at fidelity 80%" in shown
    spans = re.findall(r'<span style="background:(#\w{6});[^>]*><bdi>([^<]*)</bdi>', shown)
    assert [colour for colour, _ in spans] == [tint(found["density"]) for found in document["predictions"]]
    assert "".join(text for _, text in spans[:-1]) == "".join(token["text"] for token in document["tokens"][1:])
    assert answer.headers["cache-control"] == "no-cache"


def test_streamlits_own_page_is_around_it(monkeypatch):
    own = (Path(file_util.get_static_dir()) / "index.html").read_text(encoding="utf-8")
    first = asked(monkeypatch, "/").text
    begins, ends = first.index('<div id="first-view"'), first.rindex("</script>") + len("</script>")
    assert first[:begins] + first[ends:] == own


def test_its_script_is_a_file_of_the_server_since_a_policy_may_allow_no_other(monkeypatch):
    first = asked(monkeypatch, "/").text
    (source,) = re.findall(r'<script src="\.(/first-view\.js)"', first)
    answer = asked(monkeypatch, source)
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.text == (FOLDER / "view.js").read_text(encoding="utf-8")


def test_a_link_that_says_what_to_show_is_answered_without_it(monkeypatch):
    own = (Path(file_util.get_static_dir()) / "index.html").read_text(encoding="utf-8")
    assert asked(monkeypatch, "/?fidelity=0.9").text == own


def test_a_server_that_lies_deeper_answers_there_and_nowhere_else(monkeypatch):
    base = {"server.baseUrlPath": "some/where"}
    known = config.get_option
    monkeypatch.setattr(config, "get_option", lambda name: base[name] if name in base else known(name))
    assert 'id="first-view"' in asked(monkeypatch, "/some/where/").text
    assert asked(monkeypatch, "/some/where/first-view.js").status_code == 200
    assert asked(monkeypatch, "/").status_code == 404
