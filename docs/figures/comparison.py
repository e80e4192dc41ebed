"""R-free beside Servalcat and TorchRef, from the newest table of RESULTS.md that starts from shaken models.

`python docs/figures/comparison.py`
"""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.pyplot as plt
from style import BLUE, ORANGE, prepared, save

TABLE = Path(__file__).parents[2] / "tests" / "benchmarks" / "RESULTS.md"

rows = []
newest = TABLE.read_text().split("From starts shaken by", 1)[1].split("\n## ")[0]
for line in newest.splitlines():
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    if len(cells) == 10 and re.match(r"0\.\d+ / 0\.\d+", cells[2]):
        ours, peer = (float(cells[k].split("/")[1]) if "/ 0." in cells[k] else None for k in (2, 6))
        other = float(cells[9]) if cells[9].startswith("0.") else None
        rows.append((cells[0], ours, peer, other))
rows = [row for row in rows if row[2] is not None]

prepared()
figure, axes = plt.subplots(figsize=(8, 3.4))
place = range(len(rows))
axes.bar([x - 0.2 for x in place], [row[1] - row[2] for row in rows], 0.4, color=BLUE, label="minus Servalcat's")
known = [(x + 0.2, row[1] - row[3]) for x, row in zip(place, rows) if row[3] is not None]
axes.bar(*zip(*known), 0.4, color=ORANGE, hatch="//", edgecolor="white", label="minus TorchRef's")
axes.axhline(0.0, color="black", linewidth=0.8)
axes.set_xticks(list(place), [row[0] for row in rows], rotation=45, ha="right")
axes.set_ylabel("R-free of arrayrefine")
axes.legend()
save(figure, __file__)
