"""How near a model is to its data, and how firmly and how patiently it is refined.

A model from prediction or molecular replacement is an ångström off, and sigma_A trusts it little: the curvature of the
X-ray term is a third of what it will be. So a jelly body of the same strength keeps it where it is, and what an
iteration gains looks like noise, though R-free falls by 0.01 or more with it.
"""

from __future__ import annotations

from arrayrefine.state import State

_NEAR = 0.2
"""Share of the intensity that a model near its data leaves unexplained: 0.06 to 0.25 in refined ones, most at low
resolution; 0.4 to 0.9 in models bent by 0.5 to 1 Å."""
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
    ratio = state.sigma_a.unexplained(state.xray.reflections.s_squared) / _NEAR
    return float(min(max(ratio, 1.0), _FARTHEST) ** _EXPONENT)
