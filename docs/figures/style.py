"""How the figures of the documentation look: SVG that is the same in every run, colours that all eyes tell apart."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#666666"
"""Of the palette of Okabe and Ito."""


def prepared() -> None:
    """Set fonts, sizes and what makes the files reproducible."""
    plt.rcParams.update(
        {
            "svg.hashsalt": "arrayrefine", "svg.fonttype": "path", "font.size": 9, "axes.spines.top": False,
            "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3, "figure.facecolor": "white",
            "legend.frameon": False,
        }
    )  # fmt: skip


def save(figure: Figure, script: str) -> None:
    """Write the figure beside its script, under its name."""
    figure.tight_layout()
    figure.savefig(Path(script).with_suffix(".svg"), metadata={"Date": None})
