"""``python -m pages.parts.serve``: serves the pages, with the options of ``streamlit run``, asking nobody who it is.

A new visitor is answered with something to look at, see `pages.parts.first_view`.

Streamlit would ask a server on the internet for this machine's address when a page of another site wants a websocket,
to tell whether that site is this machine.
"""

import os
import sys
from pathlib import Path

from streamlit import net_util
from streamlit.web import cli

APP = Path(__file__).resolve().parents[2] / "app.py"
HERE = "127.0.0.1"
# How often a thread that waits for the others looks for them before it lets its core go.
LOOKS = "1000"


def know_address() -> None:
    """From now on Streamlit knows no other address of this machine than its own to itself."""
    net_util._internal_ip = net_util._external_ip = HERE


def wait_briefly() -> None:
    """Has threads that compute together let go of their cores soon when they wait for each other.

    Beside a page there is always something else at work: a browser, a call that shares the screen. With OpenMP's own
    waiting, two threads on two cores, one of them in use, take twice as long. How the environment says they are to wait
    is left; what is said here is heard by GNU's OpenMP, which torch uses on Linux, and only before torch is imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", LOOKS)


if __name__ == "__main__":
    wait_briefly()
    from pages.parts.first_view import serve_first_view

    know_address()
    serve_first_view()
    cli.main(["run", str(APP), *sys.argv[1:]], prog_name="streamlit")
