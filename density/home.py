"""Where everything is kept that is fetched, made or found out; loads nothing."""

import os
from pathlib import Path

import platformdirs


def home() -> Path:
    """``DENSITY_HOME``, or the user's cache folder for density; not necessarily there yet."""
    return Path(os.environ.get("DENSITY_HOME") or platformdirs.user_cache_dir("density")).expanduser().absolute()


def corpora_home() -> Path:
    """The folder in it of the corpora that pages measure."""
    return home() / "corpora"
