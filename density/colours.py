"""What colours mean: one scale for shares, one colour for every kind of edge and of run, and how they read together.

The scale: viridis (Smith and van der Walt, 2015; the anchors are Vega's), perceptually uniform and safe for the
colour-blind, turned so that darker means denser.
"""

from collections.abc import Sequence
from typing import Any

VIRIDIS = (
    *("#440154", "#470e61", "#481a6c", "#482575", "#472f7d", "#443a83", "#414487", "#3d4e8a", "#39568c", "#35608d"),
    *("#31688e", "#2d708e", "#2a788e", "#27818e", "#23888e", "#21918d", "#1f988b", "#1fa088", "#22a884", "#2ab07f"),
    *("#35b779", "#43bf71", "#54c568", "#66cc5d", "#7ad151", "#8fd744", "#a5db36", "#bcdf27", "#d2e21b", "#e9e51a"),
    "#fde725",
)
SCALE = VIRIDIS[::-1]
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
# One meaning each, wherever it is drawn; told apart by the colour-blind within a chart, and seen on light and on dark.
RUN_COLOURS = {
    "full model": "#8aa4b3",
    "trace": "#2f7fc6",
    "random control": "#b83b86",
    "complement": "#9a8412",
    "switched": "#cc3342",
}
KIND_COLOURS = {"residual": "#979797", "head": "#7b63d6", "mlp": "#0f8a66"}
KIND_NAMES = {"residual": "residual", "head": "heads", "mlp": "MLP"}
CAME_COLOUR = "#c8701a"
DEPTH_COLOURS = ("#dccdb9", "#b59c7c", "#8b6f4e", "#5c4630")


def tint(share: float) -> str:
    """The scale's colour of a share in [0, 1], as ``#rrggbb``; shares outside are held at the ends."""
    return blend(SCALE, min(max(share, 0.0), 1.0))


def blend(scale: Sequence[str], share: float) -> str:
    """The colour at ``share`` of ``scale``, between neighbours; ``share`` in [0, 1]."""
    place = share * (len(scale) - 1)
    low = min(int(place), len(scale) - 2)
    pairs = zip(channels(scale[low]), channels(scale[low + 1]), strict=True)
    return "#" + "".join(f"{round(start + (end - start) * (place - low)):02x}" for start, end in pairs)


def ink(background: str) -> str:
    """Black or white, whichever reads better on ``background``: the contrast is at least 4.58, the root of 21."""
    return max(("#000000", "#ffffff"), key=lambda colour: contrast(colour, background))


def channels(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of ``#rrggbb``, 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    """Relative luminance, 0 to 1 (WCAG 2.2)."""
    shares = [value / 255 for value in channels(colour)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def legend() -> dict[str, Any]:
    """The scale as a strip of colours from 0 to 1, and the ticks on it as shares with their labels."""
    return {"colours": list(SCALE), "ticks": [[share, f"{share:.0%}"] for share in TICKS]}


def ink_on(dark: bool) -> str:
    """The colour to write with, and of rules, on a ``dark`` page or a light one."""
    return "#e4e6e7" if dark else "#23272b"
