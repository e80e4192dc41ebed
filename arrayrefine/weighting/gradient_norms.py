"""Gradient norms that the weights of restraints are measured by, on copies with noise."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.displacements.displacement import B_BOUNDS
from arrayrefine.hydrogens.riding import follow
from arrayrefine.kernels.processes import gathered
from arrayrefine.options import Weighting
from arrayrefine.parameters import Parameters
from arrayrefine.targets import Target
from arrayrefine.weighting.adp_evidence import Evidence

Float = NDArray[np.float64]

_OUTLIER = 3.0
"""Per-atom norms beyond this multiple of their mean are left out (clashes, broken starts)."""


def perturbed(atoms: Atoms, parameters: Parameters, options: Weighting, seed: int, kind: str) -> Atoms:
    """A copy with noise on the free values of one kind, "xyz" or "b": xyz + N(0, σ Å), or B e^{N(0, σ)}.

    Special positions are kept.
    """
    rng = np.random.default_rng(seed)
    shift = rng.normal(0.0, options.perturb_xyz, atoms.xyz.shape) * (kind == "xyz")
    factor = np.exp(rng.normal(0.0, options.perturb_b, len(atoms)) * (kind == "b"))
    b_iso = np.clip(atoms.b_iso * factor, *B_BOUNDS)
    noisy = atoms.replace(xyz=atoms.xyz + shift, b_iso=b_iso, u_aniso=atoms.u_aniso * (b_iso / atoms.b_iso)[:, None])
    moved = parameters.at(atoms)
    copy = moved.unpack(moved.pack(noisy))
    # What a group does to its atoms cannot be had from their noise; the restraints see it as the B of each.
    grouped = parameters.displaced & ~parameters.b & ~parameters.u
    if not grouped.any():
        return copy
    return follow(
        atoms,
        copy.replace(
            b_iso=np.where(grouped, b_iso, copy.b_iso),
            u_aniso=np.where(grouped[:, None], noisy.u_aniso, copy.u_aniso),
        ),
    )


def robust_norm(per_atom: Float) -> float:
    """Root mean square of per-atom norms without those beyond 3 x their mean."""
    kept = per_atom[per_atom <= _OUTLIER * per_atom.mean()]
    return float(np.sqrt(np.mean(kept**2))) if len(kept) else 0.0


class Norms(NamedTuple):
    """What gradients are measured by: atoms, and of each term, "geometry" or "adp", the atoms `chosen` (N,)."""

    atoms: Atoms
    parameters: Parameters
    options: Weighting
    seed: int
    chosen: Mapping[str, NDArray[np.bool_]]

    def change(self, name: str, there: Target, here: Target | None = None) -> float:
        """Robust norm of the change of a gradient from the atoms, where the target may be another, to a copy."""
        # Noise of coordinates changes the gradient by B too, and would make B look better determined than it is.
        kind = "xyz" if name == "geometry" else "b"
        copy = perturbed(self.atoms, self.parameters, self.options, self.seed, kind)
        change = there(copy)[1] + -1.0 * (here or there)(self.atoms)[1]
        return _norm(name, change, self.chosen[name])


def measured_norms(
    norms: Norms, xray: Target, apart: Callable[[], Target], terms: Mapping[str, Target], wanted: AbstractSet[str],
    ask: Callable[[], Evidence | None] | None, together: bool = False,
) -> dict[str, Evidence | tuple[float, float]]:  # fmt: skip
    """Norms of the X-ray term and of a term itself, for each of the `terms`; in a team by two processes, or more.

    Parameters
    ----------
    norms : Norms
    xray : Target
    apart : callable
        Gives the same, as one process of a team may evaluate it without the others. Each task begins with its own: what
        one keeps must not depend on which process has done another.
    terms : mapping
        "geometry" and "adp", or one of them, and their targets.
    wanted : set of str
        Terms for which the X-ray term is to be measured; for the others its norm is nan.
    ask : callable or None
        What it returns, unless that is None, takes the place of norms for "adp".
    together : bool
        Whether all processes of a team evaluate the X-ray term, as they must where a device does it, instead of one.
    """
    here: Target | None = None
    if any(name in wanted and (name != "adp" or ask is None) for name in terms):
        xray(norms.atoms)  # by all processes together; a minimisation starts there, and so it is kept
        here = xray

    def of_xray(name: str) -> float:
        return norms.change(name, apart(), here) if name in wanted else np.nan

    def of_displacements() -> Evidence | tuple[float, float]:
        known = None if ask is None else ask()
        return known or (np.nan if together else of_xray("adp"), norms.change("adp", terms["adp"]))

    # Two tasks that take about as long each. Contacts keep lists in the process that does the first.
    first: list[Callable[[], Any]] = []
    second: list[Callable[[], Any]] = []
    if "geometry" in terms:
        first.append(partial(norms.change, "geometry", terms["geometry"]))
        if not together:
            (second if ask is None else first).append(partial(of_xray, "geometry"))
    if "adp" in terms:
        second.append(of_displacements)
    answers = itertools.chain.from_iterable(gathered([partial(_done, first), partial(_done, second)]))
    found: dict[str, Evidence | tuple[float, float]] = {}
    if "geometry" in terms:
        by_term = next(answers)
        found["geometry"] = of_xray("geometry") if together else next(answers), by_term
    if "adp" in terms:
        found["adp"] = next(answers)
        if together and not isinstance(found["adp"], Evidence):
            found["adp"] = of_xray("adp"), found["adp"][1]
    return found


def _done(jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    return [job() for job in jobs]


def _norm(name: str, gradient: Gradient, chosen: NDArray[np.bool_]) -> float:
    """Robust norm over chosen atoms of what the weight of a term is measured by."""
    per_atom = np.linalg.norm(gradient.xyz, axis=1) if name == "geometry" else np.abs(gradient.b_iso)
    return robust_norm(per_atom[chosen])


def expected_norm(
    name: str, curvature: Gradient, atoms: Atoms, chosen: NDArray[np.bool_], options: Weighting
) -> float | None:
    """Norm of the change of the X-ray gradient if its second derivative were diagonal; None where that is nothing."""
    if name == "geometry":
        per_atom = options.perturb_xyz * np.linalg.norm(curvature.xyz, axis=1)
    else:
        per_atom = options.perturb_b * curvature.b_iso * atoms.b_iso
    return robust_norm(np.abs(per_atom[chosen])) or None
