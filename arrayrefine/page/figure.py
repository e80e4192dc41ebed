"""Charts: matplotlib figures as inline SVG whose colours are those of the page, in light and in dark mode."""

from __future__ import annotations

import io
import re
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from arrayrefine.page.table import Table

if typing.TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "ink": "#010101", "muted": "#010102", "line": "#010103", "paper": "#010104", "work": "#010105", "free": "#010106",
    "third": "#010107", "bad": "#010108", "band": "#010109", "good": "#01010a",
}  # fmt: skip
"""Stand-ins: what matplotlib draws in these, the page draws in its custom properties of the same names."""
_SIZE = 9.0
"""Points; the size of letters in a chart, before the page scales it."""
_RC: dict[Any, Any] = {
    "text.parse_math": False,
    "svg.fonttype": "none", "svg.hashsalt": "arrayrefine", "font.size": _SIZE, "font.family": "sans-serif",
    "axes.edgecolor": COLOURS["muted"], "axes.labelcolor": COLOURS["ink"], "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["muted"], "ytick.color": COLOURS["muted"], "xtick.labelcolor": COLOURS["ink"],
    "ytick.labelcolor": COLOURS["ink"], "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7,
    "axes.grid": True, "grid.color": COLOURS["line"], "grid.linewidth": 0.6, "axes.axisbelow": True,
    "legend.frameon": False, "legend.fontsize": _SIZE, "lines.linewidth": 1.6, "lines.markersize": 4.0,
    "axes.titlesize": _SIZE, "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
}  # fmt: skip
_LONG_NUMBER = re.compile(r"\d+\.\d{3,}")
_ID = re.compile(r' id="([^"]+)"')
_FAMILY = re.compile(r" font-family: [^;\"]+;?")
_PLACES = {colour: f"var(--{name})" for name, colour in COLOURS.items()}
_PLACE = re.compile("|".join(_PLACES))


@dataclass(frozen=True)
class Chart:
    """A figure of the page.

    Attributes
    ----------
    key : str
        For the address of the figure within the page.
    title : str
    caption : str
        What to look for.
    alternative : str
        The chart in words, with its numbers.
    svg : str
    wide : bool
        Takes the whole width, and scrolls where there is less.
    table : Table, optional
        The numbers behind it.
    """

    key: str
    title: str
    caption: str
    alternative: str
    svg: str
    wide: bool = False
    table: Table | None = None


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's settings for the charts, within the block only."""
    import matplotlib

    with matplotlib.rc_context(_RC):
        yield


def axes(
    width: float = 4.6, height: float = 2.7, rows: Sequence[float] = (1.0,), *,
    left: float = 0.64, bottom: float = 0.46, top: float = 0.32,
) -> tuple[Figure, list[Axes]]:  # fmt: skip
    """A figure, and one axis for each of the `rows` (relative heights), all with one x axis.

    Parameters
    ----------
    width, height : float
        Inches.
    rows : sequence of float
    left, bottom, top : float
        Margins, inches.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    grid = figure.add_gridspec(
        len(rows), 1, height_ratios=list(rows), hspace=0.12,
        left=left / width, right=1.0 - 0.14 / width, bottom=bottom / height, top=1.0 - top / height,
    )  # fmt: skip
    first = figure.add_subplot(grid[0])
    found = [first] + [figure.add_subplot(grid[i], sharex=first) for i in range(1, len(rows))]
    for axis in found[:-1]:
        axis.tick_params(labelbottom=False, bottom=False)
    return figure, found


def legend(axis: Axes) -> None:
    """The legend, above what is drawn."""
    axis.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2, ncols=4, columnspacing=1.4,
                handlelength=1.8)  # fmt: skip


def inline(figure: Figure, key: str) -> str:
    """The figure as SVG to stand inside the page: no sizes, no foreign identifiers, colours of the page."""
    stream = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(stream, format="svg", metadata=nothing)
    text = stream.getvalue()
    body = text[text.index("<g ") : text.rindex("</svg>")]
    body = re.sub(r"<!--.*?-->", "", body)
    used = set(re.findall(r"#([\w.-]+)", body))
    body = _ID.sub(lambda found: f' id="{key}-{found[1]}"' if found[1] in used else "", body)
    body = re.sub(r'(href="|url\()#', rf"\1#{key}-", body)
    body = _PLACE.sub(lambda found: _PLACES[found[0]], body)
    body = _LONG_NUMBER.sub(lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), body)
    body = _FAMILY.sub("", body)
    body = re.sub(r"\n\s*", "\n", body)
    width, height = (72.0 * inches for inches in figure.get_size_inches())
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" style="--natural:{width * 4 / 3:.0f}px">{body}</svg>'
