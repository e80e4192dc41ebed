"""The refinement of the tutorial: R factors after each step, and by resolution. `python docs/figures/tutorial.py`"""

from __future__ import annotations

import matplotlib.pyplot as plt
from style import BLUE, ORANGE, prepared, save

import arrayrefine as ar
from arrayrefine.example import DATA, MODEL

result = ar.refine(MODEL, DATA, ar.Options(perturb=0.2))
report = result.report
prepared()
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2))

names = ["start", *(f"{step.cycle} {step.target}" for step in report.steps)]
for label, colour, marker, start, values in (
    ("R-work", BLUE, "o", report.start.r_work, [step.r_work for step in report.steps]),
    ("R-free", ORANGE, "s", report.start.r_free, [step.r_free for step in report.steps]),
):
    left.plot(names, [start, *values], color=colour, marker=marker, label=label)
left.set_xlabel("cycle and what was refined")
left.set_ylabel("R")
left.tick_params(axis="x", rotation=45)
left.legend()

shells = report.shells
middle = [(0.5 * (1 / s["d_low"] ** 2 + 1 / s["d_high"] ** 2)) for s in shells]
for key, label, colour, marker in (("r_work", "R-work", BLUE, "o"), ("r_free", "R-free", ORANGE, "s")):
    right.plot(middle, [s[key] for s in shells], color=colour, marker=marker, label=label)
ticks = [4.0, 3.0, 2.5, 2.2, 2.0, 1.8]
right.set_xticks([1 / d**2 for d in ticks], [f"{d:g}" for d in ticks])
right.set_xlabel("resolution, Å")
right.set_ylabel("R after refinement")
right.legend()
save(figure, __file__)
