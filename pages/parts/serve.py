"""``python -m pages.parts.serve``: serves the pages, with the options of ``streamlit run``, asking nobody who it is.

A new visitor is answered with something to look at, see `pages.parts.first_view`.

Streamlit would ask a server on the internet for this machine's address when a page of another site wants a websocket,
to tell whether that site is this machine.
"""

import sys
from pathlib import Path

from streamlit import net_util
from streamlit.web import cli

APP = Path(__file__).resolve().parents[2] / "app.py"
HERE = "127.0.0.1"


def know_address() -> None:
    """From now on Streamlit knows no other address of this machine than its own to itself."""
    net_util._internal_ip = net_util._external_ip = HERE


if __name__ == "__main__":
    from pages.parts.first_view import serve_first_view

    know_address()
    serve_first_view()
    cli.main(["run", str(APP), *sys.argv[1:]], prog_name="streamlit")
