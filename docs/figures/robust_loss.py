"""The loss of restraints that may be wrong, beside least squares. `python docs/figures/robust_loss.py`"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from style import BLUE, GREY, ORANGE, prepared, save

from arrayrefine.kernels.distances import loss

prepared()
figure, axes = plt.subplots(1, 2, figsize=(8, 2.8))
z = np.linspace(-6, 6, 401)
for alpha, name, colour, line in (
    (2.0, "2: least squares", GREY, "--"),
    (0.0, "0: Cauchy", ORANGE, "-."),
    (-2.0, "−2: Geman and McClure", BLUE, "-"),
):
    value, slope = loss(z, alpha)
    axes[0].plot(z, value, color=colour, linestyle=line, label=name)
    axes[1].plot(z, slope, color=colour, linestyle=line, label=name)
axes[0].set_ylim(0, 6)
axes[1].set_ylim(-3, 3)
axes[0].set_ylabel("ρ(z)")
axes[1].set_ylabel("pull, dρ/dz")
for panel in axes:
    panel.set_xlabel("deviation in σ, z")
axes[1].legend(title="α", loc="upper left", fontsize=8)
save(figure, __file__)
