"""What a user can cause, each with what came, what was wanted and what to do."""


class DensityError(Exception):
    """Base of every error that input, a model or the machine can cause; its message is one sentence for the user."""


class BadInput(DensityError):
    """A text, a number or a choice that cannot be worked with."""


class UnsupportedModel(DensityError):
    """A model whose architecture, or one of whose settings, is not covered by any family."""


class TooLarge(DensityError):
    """Work that would need more memory than there is."""


class NotFinite(DensityError):
    """A number in a run that is infinite or not a number."""


class Cancelled(DensityError):
    """The work was stopped by whoever asked for it."""
