"""How near a model is to its data, and how firmly and how patiently it is refined.

A model from prediction or molecular replacement is an ångström off, and sigma_A trusts it little: the curvature of the
X-ray term is a third of what it will be. So a jelly body of the same strength keeps it where it is, and what an
iteration gains looks like noise, though R-free falls by 0.01 or more with it.
"""

from __future__ import annotations

from arrayrefine.state import State

_NEAR = 0.2
"""Share of the intensity that a model near its data leaves unexplained: 0.06 to 0.2 in refined ones at 2 Å and better,
0.15 to 0.3 in most at low resolution, 0.5 in the poorest; 0.35 to 0.9 in models bent by 0.5 to 1 Å. What is missing
from a model counts like what is wrong with it. At 3 Å sigma_A hardly tells them apart: with the rise of the share with
resolution in its place bent models ended 0.007 higher in R-free, and models without a fifth of their residues 0.003
lower."""
_FARTHEST = 3.0
"""Times as much beyond which a model is no farther: one that is wrong altogether would else be pursued for long."""
_EXPONENT = -3.0


def nearness(state: State) -> float:
    """1 for a model near its data, down to 1/27 for one that is far.

    A factor on the weight of the jelly body in a step from this state, and on the gain below which nothing is worth
    pursuing.
    """
    if state.xray.kind != "ml":
        return 1.0
    return float(min(max(unexplained(state) / _NEAR, 1.0), _FARTHEST) ** _EXPONENT)


def unexplained(state: State) -> float:
    """Mean of S/Σ_N over the reflections: the share of the intensity that the model leaves open."""
    return state.sigma_a.unexplained(state.xray.reflections.s_squared)
