"""Rows of a corpus dataset as observations: which of them count, and which are drawn together.

Both take rows one by one, as mappings, or many at once, as a data frame.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd


def sees_text(rows: Any) -> Any:
    """Whether a prediction sees a token of its text; the others are alike in all texts, and are left out.

    They see only what the tokenizer adds.
    """
    return rows["position"] >= rows["added"]


def group_of(row: Mapping[str, Any]) -> str:
    """What a bootstrap draws whole: a prediction's text, or the minimal pair whose half its text is."""
    pair = row["pair"]
    return str(row["text_id"]) if pd.isna(pair) else f"pair {pair}"


def groups_of(rows: pd.DataFrame) -> pd.Series:
    """`group_of` each of ``rows``."""
    named = rows["pair"].astype(object).map("pair {}".format, na_action="ignore")
    return named.where(named.notna(), rows["text_id"])
