"""Numerical checks with readable failures: finite differences and the dot test."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from arrayrefine.atoms import Atoms, Gradient


def check_direction(
    function: Callable[[float], float], slope: float, step: float, tolerance: float, what: str = "derivative"
) -> None:
    """Compare a directional derivative with a fourth-order central difference of t -> function(t)."""
    f = [function(k * step) for k in (-2, -1, 1, 2)]
    numeric = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * step)
    scale = max(abs(numeric), abs(slope), 1e-12)
    assert abs(numeric - slope) <= tolerance * scale, f"{what}: analytic {slope:.10g}, numeric {numeric:.10g}"


def check_target(
    target: Callable[[Atoms], tuple[float, Gradient]], atoms: Atoms, *, seed: int = 0, tolerance: float = 1e-6,
    step_xyz: float = 1e-4, step_b: float = 1e-3, step_q: float = 1e-4,
) -> None:  # fmt: skip
    """Finite-difference test of a target along one random direction for each kind of value."""
    rng = np.random.default_rng(seed)
    _, gradient = target(atoms)
    by_xyz, by_b, by_q = rng.normal(size=atoms.xyz.shape), rng.normal(size=len(atoms)), rng.normal(size=len(atoms))
    check_direction(
        lambda t: target(atoms.replace(xyz=atoms.xyz + t * by_xyz))[0], float((gradient.xyz * by_xyz).sum()),
        step_xyz, tolerance, "by xyz",
    )  # fmt: skip
    check_direction(
        lambda t: target(atoms.replace(b_iso=atoms.b_iso + t * by_b))[0], float((gradient.b_iso * by_b).sum()),
        step_b, tolerance, "by B",
    )  # fmt: skip
    check_direction(
        lambda t: target(atoms.replace(occupancy=atoms.occupancy + t * by_q))[0],
        float((gradient.occupancy * by_q).sum()), step_q, tolerance, "by occupancy",
    )  # fmt: skip


def dot_test(left: complex, right: complex, tolerance: float) -> None:
    """⟨A x, y⟩ = ⟨x, Aᵀ y⟩."""
    scale = max(abs(left), abs(right))
    assert scale > 0, "dot test on zero vectors says nothing"
    assert abs(left - right) <= tolerance * scale, f"dot test: ⟨Ax, y⟩ = {left}, ⟨x, Aᵀy⟩ = {right}"
