"""How long work reports itself, and how a library that reports on its own is kept quiet meanwhile."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from transformers.utils import logging

# Called with what is being done, the bytes done and the bytes there are (0: not known); may raise, to cancel.
Progress = Callable[[str, int, int], None]


def unreported(stage: str, done: int, total: int) -> None:
    """The `Progress` of whoever does not want any."""


@contextmanager
def quiet() -> Iterator[None]:
    """Holds back the bars and warnings of transformers; its errors still come as exceptions."""

    def hidden_bar(factory: Callable[..., Any], args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        return factory(*args, **{**settings, "disable": True})

    verbosity, hook = logging.get_verbosity(), logging.set_tqdm_hook(hidden_bar)
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        logging.set_tqdm_hook(hook)
