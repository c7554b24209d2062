"""The claims and their verdicts as a table of the command line."""

from typing import Any

from rich.table import Table

from density.findings.verdicts import Unit, Verdict
from density.tables import table_of


def verdicts_table(document: dict[str, Any]) -> Table:
    """One row a check."""
    rows = [
        [claim["name"], check["model"], check["what"], check["verdict"], *numbers(check)]
        for claim in document["claims"]
        for check in claim["checks"] or [{"model": "", "what": "", "verdict": Verdict.CANNOT_TELL.value}]
    ]
    made = table_of("claims", ["claim", "model", "what", "this data", "number", "95% interval", "texts"], rows)
    for column in made.columns[:4]:
        column.justify = "left"
    return made


def numbers(check: dict[str, Any]) -> list[str]:
    """A check's number, its interval and how many texts it is of; empty where there is none."""
    if check.get("value") is None:
        return ["", "", ""]
    write = Unit(check["unit"]).write
    bounds = "" if check["low"] is None else f"{write(check['low'])} to {write(check['high'])}"
    return [write(check["value"]), bounds, f"{check['texts']:,}"]
