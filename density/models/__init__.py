"""Models: what can be loaded, what can be fetched by name, and how."""

from density.models.catalogue import DEFAULT, CatalogueEntry, catalogue, state
from density.models.errors import (
    CacheUnavailable,
    DamagedModel,
    DownloadFailed,
    TermsNotAccepted,
    UnknownModel,
    WrongChecksum,
)
from density.models.fetch import fetch
from density.models.loading import Model, open_model
from density.models.progress import Progress

__all__ = [
    "DEFAULT",
    "CacheUnavailable",
    "CatalogueEntry",
    "DamagedModel",
    "DownloadFailed",
    "Model",
    "Progress",
    "TermsNotAccepted",
    "UnknownModel",
    "WrongChecksum",
    "catalogue",
    "fetch",
    "open_model",
    "state",
]
