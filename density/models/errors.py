"""What can go wrong between a model's name and its weights."""

from density.errors import DensityError


class UnknownModel(DensityError):
    """A name that means no model: not in the catalogue, no file or folder, no hub id."""


class TermsNotAccepted(DensityError):
    """A model whose terms have to be accepted before it is fetched.

    Attributes:
        terms: The terms in our own words, and where their full text is.
    """

    def __init__(self, name: str, terms: str) -> None:
        self.terms = terms
        super().__init__(
            f"{name} comes with terms that have to be accepted before it is fetched. {terms} "
            f"To accept them: python -m density fetch {name} --accept-terms"
        )


class DownloadFailed(DensityError):
    """A download that did not arrive; what was already there is untouched."""


class WrongChecksum(DensityError):
    """Bytes that are not the ones that were expected."""


class DamagedModel(DensityError):
    """Model files that are missing, cut short, unreadable, or that contradict each other."""


class CacheUnavailable(DensityError):
    """A cache folder that cannot take what has to be written to it: disk full, read-only, not a folder."""
