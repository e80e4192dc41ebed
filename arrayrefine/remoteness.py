"""How far a model is from its data, and how much freedom and patience its path then needs.

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
"""Ratio beyond which a model is no farther: one that is wrong altogether would else be pursued for long."""
_EXPONENT = 3


def remoteness(state: State) -> float:
    """Unexplained intensity relative to that of a model near its data, 1 to 3."""
    ratio = state.sigma_a.unexplained(state.xray.reflections.s_squared) / _NEAR
    return min(max(ratio, 1.0), _FARTHEST)


def jelly_share(state: State) -> float:
    """Factor on the weight of the jelly body in a step from this state, at most 1."""
    return remoteness(state) ** -_EXPONENT


def worthwhile(state: State) -> float:
    """Factor on the gain below which nothing is worth pursuing from this state, at most 1."""
    return remoteness(state) ** -_EXPONENT
