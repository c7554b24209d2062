"""What an operator does not allow is said on the page with its reason, for a question that comes from a link too."""

import pytest
import streamlit as st

from density.limits import FILE, PREFIX, limits
from density.serving.question import DEFAULT_MODEL
from density.store import PROFILE, Store
from tests.test_kept_pages import about, document  # noqa: F401
from tests.test_kept_pages import opened as opened_alone
from tests.test_kept_pages import said as said_alone
from tests.test_pages import cells_of, opened, plain, run, said, settle


@pytest.fixture
def limited(own_home, monkeypatch):
    """Sets the limits of the server that the pages are served by, on a machine that has no model."""

    def begin(**given):
        for name, value in given.items():
            monkeypatch.setenv(PREFIX + name.upper(), str(value))
        limits.cache_clear()
        st.cache_resource.clear()

    yield begin
    monkeypatch.undo()
    limits.cache_clear()
    st.cache_resource.clear()


def test_a_model_that_is_not_offered_is_refused_though_a_link_names_it(limited, tiny_folder):
    limited(models=f"gemma3-270m,{tiny_folder}")
    app = opened(text="from a link", model=DEFAULT_MODEL)
    assert f"This server does not offer the model '{DEFAULT_MODEL}'" in plain(said(app))
    assert "This server offers the models in the list." in said(app)
    app.button[0].click()
    app.run()
    assert "job" not in app.session_state
    assert set(app.selectbox(key="model").options) == {"gemma3-270m", str(tiny_folder), DEFAULT_MODEL}
    app.selectbox(key="model").set_value(str(tiny_folder))
    run(app)
    assert not app.error and any(cell["share"] for cell in cells_of(app))


def test_a_page_begins_with_a_model_that_is_offered(limited, tiny_folder):
    limited(models=str(tiny_folder))
    assert opened().selectbox(key="model").value == str(tiny_folder)


def test_a_text_longer_than_the_server_reads_is_refused_and_the_widget_goes_no_further(limited, tiny_folder):
    limited(tokens=7)
    app = opened(model=str(tiny_folder), text="one two three four five six")
    assert "reads texts of up to 7 tokens" in said(app)
    assert (app.number_input(key="max_tokens").value, app.number_input(key="max_tokens").max) == (7, 7)
    app.button[0].click()
    settle(app)
    assert "tokens and this server reads 7 at most; shorten it" in plain(app.error[0].value)
    app.text_area[0].set_value("x" * 64 * 7 + "x").run()
    assert "449 characters and this server reads 448 at most" in plain(said(app))
    app.text_area[0].set_value("ab c")
    run(app)
    assert any(cell["share"] for cell in cells_of(app))


@pytest.mark.parametrize("limit", [{"hub": False}, {"read_only": True}])
def test_where_nothing_is_fetched_a_model_that_is_not_there_cannot_be_run(limited, limit):
    limited(**limit)
    app = opened(text="from a link", model=DEFAULT_MODEL)
    assert f"The model {DEFAULT_MODEL} is not on this machine, and this server fetches none." in plain(said(app))
    assert "Run fetches" not in said(app)
    app.button[0].click()
    app.run()
    assert "job" not in app.session_state and not app.exception


def test_a_read_only_server_answers_and_keeps_nothing(limited, own_home, tiny_folder):
    limited(read_only=True)
    app = opened(model=str(tiny_folder), text="not to be kept")
    assert "This is a read-only demonstration" in said(app)
    run(app)
    assert any(cell["share"] for cell in cells_of(app))
    assert not list(own_home.glob("*.sqlite3*"))


def test_an_answer_that_cannot_be_kept_says_why(limited, own_home, tiny_folder):
    (own_home / "results.sqlite3").mkdir(parents=True)
    limited()
    app = opened(model=str(tiny_folder), text="not to be kept")
    assert not app.warning
    run(app)
    assert [plain(one.value) for one in app.warning] == ["Answers cannot be kept on this machine: Is a directory."]
    assert any(cell["share"] for cell in cells_of(app))


def test_a_read_only_history_is_listed_and_opened_and_offers_no_deleting(limited, document):  # noqa: F811
    Store().put(PROFILE, about(document), document)
    limited(read_only=True)
    app = opened_alone("history")
    assert "1 answer" in said_alone(app) and "nothing here can be deleted" in said_alone(app)
    assert [button.label for button in app.button] == ["Open"]
    app.button[0].click().run()
    assert "It is ready" in said_alone(app)


@pytest.mark.parametrize("page", ["explorer", "history", "method"])
def test_a_server_with_a_wrong_limit_does_not_open_and_says_which(limited, page, tmp_path, monkeypatch):
    monkeypatch.setenv(FILE, str(tmp_path / "nothing.toml"))
    limited()
    app = opened_alone(page)
    assert len(app.error) == 1 and not app.button
    assert "This server is not open: DENSITY_LIMITS names" in plain(app.error[0].value)
