"""Without a browser its tests are left out, with the reason at the end; in continuous integration they fail."""

import pytest

from tests.browser.conftest import leave_out


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_tests_that_cannot_run_are_left_out_and_fail_in_continuous_integration(monkeypatch, ci, outcome):
    monkeypatch.setenv("CI", ci)
    said = []
    with pytest.raises(outcome, match="no Chromium"):
        leave_out("no Chromium", lambda title, lines: said.extend(lines))
    assert bool(said) is not bool(ci)
