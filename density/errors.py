"""What a user can cause, each with what came, what was wanted and what to do."""

# Characters of a library's own words in a message of ours.
MOST_WORDS = 200


def shown(value: object, most: int = 40) -> str:
    """A value as a message names it: on one line, a text cut after ``most`` characters, a longer list by its length."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        short = len(value) <= most and all(isinstance(one, int | float | bool) for one in value)
        return repr(value) if short and len(repr(value)) <= most else f"a list of {len(value)}"
    if isinstance(value, str):
        return repr(value) if len(value) <= most else f"{value[:most]!r}..."
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."


def first_line(error: BaseException) -> str:
    """What a library's exception says, short enough to be part of a sentence."""
    lines = (str(error).strip() or type(error).__name__).splitlines() or [type(error).__name__]
    line = "".join(character if character.isprintable() else " " for character in lines[0])
    return line if len(line) <= MOST_WORDS else f"{line[:MOST_WORDS]}..."


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
