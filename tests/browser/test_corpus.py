"""The Corpus page in Chromium: a file uploaded, measured, and what it says."""

import re

import pytest

from tests.browsing import MILLISECONDS, expand, go, idle, picture, press, said, until

pytestmark = pytest.mark.browser
TEXTS = "The old man opened the door\nand saw nobody at all\nin the whole house\nfor many years\nuntil one day\n"


def test_an_uploaded_file_is_measured_and_its_findings_opened(visit, tiny_folder, tmp_path):
    path = tmp_path / "a few.txt"
    path.write_text(TEXTS)
    page = visit()
    go(page, "Corpus")
    page.get_by_role("radio", name="a file").click()
    page.locator('input[type="file"]').set_input_files(str(path))
    page.get_by_text("a few.txt").first.wait_for()
    idle(page)
    models = page.get_by_role("combobox", name="Models")
    models.press("Backspace")
    models.fill(str(tiny_folder))
    models.press("Enter")
    until(page, lambda: "5 texts by 1 model: 5 to measure" in said(page))
    models.press("Escape")
    press(page, "Run")
    page.get_by_text(re.compile("Finished in")).wait_for(timeout=MILLISECONDS)
    assert "5 predictions of 5 texts" in said(page)
    picture(page, "corpus")
    page.get_by_role("button", name="Findings").click()
    page.get_by_text("Figures of").wait_for()
    until(page, lambda: page.locator('[data-testid="stVegaLiteChart"] canvas, svg.marks').count() >= 1)
    assert page.get_by_test_id("stMetric").count() == 3
    expand(page, "Take it home")
    with page.expect_download() as download:
        page.get_by_role("button", name="HTML report").click()
    assert "Claims" in download.value.path().read_text(encoding="utf-8")
    picture(page, "findings")
    # The widget forgets its file on another page; the session does not.
    go(page, "Corpus")
    page.get_by_text("as it was uploaded before").wait_for()
    assert "5 texts by 1 model: 0 to measure. 5 of 5 are there already." in said(page)
