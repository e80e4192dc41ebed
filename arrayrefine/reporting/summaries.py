"""Tables of the report: resolution shells, restraint classes, scaling."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine import coordinate_uncertainty
from arrayrefine.atoms import Atoms
from arrayrefine.measurements.wilson_plot import wilson_b
from arrayrefine.problem import Problem
from arrayrefine.scaling import r_factor
from arrayrefine.solvent import MaskShape
from arrayrefine.state import State
from arrayrefine.strict_ncs import account
from arrayrefine.wording import counted

_SHELLS = 10
_LEAST_IN_SHELL = 30

_FUNCTION, _ROBUST = "harmonic", "robust"
_NAMES = {
    "bond": "bond_d", "angle": "angle_deg", "torsion": "torsion_deg", "chirality": "chiral_volume",
    "plane": "plane", "contact": "nonbonded", "Ramachandran": "ramachandran_deg", "rotamer": "rotamer_deg",
    "sugar pucker": "sugar_pucker_deg",
    "secondary structure": "hydrogen_bond_d", "local NCS": "ncs_local_d", "reference": "reference_d",
    "metal": "metal_d", "metal, robust": "metal_robust_d", "base pairs": "base_pair_d", "table": "table_d",
    "table, robust": "table_robust_d", "bond to mate": "bond_to_mate_d", "angle to mate": "angle_to_mate_deg",
    "torsion to mate": "torsion_to_mate_deg", "plane to mate": "plane_to_mate", "metal to mate": "metal_to_mate_d",
    "metal to mate, robust": "metal_to_mate_robust_d", "base pairs to mate": "base_pair_to_mate_d",
    "secondary structure to mate": "hydrogen_bond_to_mate_d", "table to mate": "table_to_mate_d",
    "table to mate, robust": "table_to_mate_robust_d", "table, position": "table_position_d",
}  # fmt: skip


def shells(problem: Problem, state: State) -> tuple[dict[str, Any], ...]:
    """R factors, correlations and completeness in up to ten shells of equal d*³ width, lowest resolution first."""
    data = problem.reflections
    volume, edges = data.s_squared**1.5, shell_edges(data.s_squared)
    possible = _possible(problem, edges)
    amplitude = state.amplitude
    rows = []
    for count, (low, high) in zip(possible, itertools.pairwise(edges)):
        inside = (volume >= low) & (volume < high)
        row: dict[str, Any] = {"d_low": low ** (-1 / 3) if low > 0 else None, "d_high": high ** (-1 / 3)}
        for name, chosen in (("work", inside & data.work), ("free", inside & data.free)):
            some = bool(chosen.any())
            row[f"n_{name}"] = int(chosen.sum())
            row[f"r_{name}"] = r_factor(data.f_obs[chosen], amplitude[chosen]) if some else None
            row[f"cc_{name}"] = correlation(data.f_obs[chosen], amplitude[chosen])
        row["completeness"] = min(1.0, int(inside.sum()) / count) if count else None
        rows.append(row)
    return tuple(rows)


def shell_edges(s_squared: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges (S + 1,), Å⁻³, of up to ten shells of equal d*³ width, of reflections (R,) of these 1/d²."""
    volume = s_squared**1.5
    n = int(np.clip(len(volume) // _LEAST_IN_SHELL, 1, _SHELLS))
    return np.linspace(volume.min(), volume.max() * (1 + 1e-9), n + 1)


def _possible(problem: Problem, edges: NDArray[np.float64]) -> list[int]:
    """Number of unique reflections that each shell could hold."""
    data = problem.reflections
    every = data.crystal.inverse_d_squared(data.possible) ** 1.5
    # equivalents differ by rounding: the outermost ones belong to the outermost shells
    shell = np.clip(np.searchsorted(edges, every, side="right") - 1, 0, len(edges) - 2)
    counts: list[int] = np.bincount(shell, minlength=len(edges) - 1).tolist()
    return counts


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Of two arrays (n,); None for fewer than three values, or where one has no other."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def restraint_classes(problem: Problem, state: State) -> tuple[dict[str, Any], ...]:
    """Count, RMSD and RMSZ of each class of restraint; and the weight of those that do not come from the dictionary."""
    rows = []
    geometry = problem.geometry
    external = {more.kind: more.weight for more in geometry.external}
    robust = {d.kind for d in (*geometry.distances, *geometry.to_mates) if d.alpha < 2.0}
    for name, term in geometry.terms(state.atoms).items():
        if term.count:
            row = {
                "type": f"a_{_NAMES[name]}", "count": term.count, "rmsd": term.rmsd, "rmsz": term.rmsz,
                "target": term.sigma, "function": _FUNCTION,
            }  # fmt: skip
            if name in external:
                row |= {"weight": external[name], "function": _ROBUST if name in robust else _FUNCTION}
            rows.append(row)
    return tuple(rows)


def data(problem: Problem, first: State, state: State) -> dict[str, Any]:
    """What the report says of the measurements: the fit to all of them, and the outliers that the last model found.

    And what else there is besides tables: operators of copies that are the same, since the `first` state.
    """
    measured, amplitude = problem.reflections, state.amplitude
    fom = state.fom
    row: dict[str, Any] = {"radiation": measured.radiation, "r_all": r_factor(measured.f_obs, amplitude)}
    if measured.wavelength is not None:
        row["wavelength"] = measured.wavelength
    for name, chosen in (("work", measured.work), ("free", measured.free)):
        row[f"cc_{name}"] = correlation(measured.f_obs[chosen], amplitude[chosen])
        row[f"fom_{name}"] = float(np.mean(fom[chosen])) if chosen.any() else None
    if state.twin is not None:
        twin = state.twin.twin
        row["twin"] = [
            {"operator": law, "fraction": float(fraction)}
            for law, fraction in zip(("h,k,l", *twin.laws), twin.fractions)
        ]
    if len(problem.copies):
        row["strict_ncs"] = account.describe(problem.copies, first.atoms, state.atoms)
    row["wilson_b"] = wilson_b(measured, state.atoms)
    row |= coordinate_uncertainty.precision_indices(problem, state)
    if measured.anomalous is not None:
        row["anomalous"] = measured.anomalous.as_dict()
    return row | {"outliers": state.outliers.describe(measured, state.amplitude)}


def external_classes(problem: Problem, first: State, last: State) -> list[str]:
    """A sentence on each class of restraint that does not come from the dictionary: count, weight, RMSZ."""
    weights = {more.kind: more.weight for more in problem.geometry.external}
    if not weights:
        return []
    before, after = (problem.geometry.terms(state.atoms) for state in (first, last))
    return [
        f"{kind}: {counted(after[kind].count, 'restraint')} of weight {weight:g}, RMSZ {before[kind].rmsz:.2f} -> "
        f"{after[kind].rmsz:.2f}"
        for kind, weight in weights.items()
    ]


def scaling(problem: Problem, state: State) -> dict[str, Any]:
    """Scale, solvent, sigma_A and likelihood, for the report."""
    solvent = problem.options.solvent
    mask = MaskShape.of(solvent)
    return {
        "scale": state.scale.describe(),
        "sigma_a": state.sigma_a.describe(),
        "steered_by": dict(zip(("bond_rmsz", "angle_rmsz"), state.core_rmsz)),
        "nll_work": state.nll_work,
        "nll_free": state.nll_free,
        "solvent_model": solvent.model,
        "solvent_radii": mask.radii,
        "solvent_probe": mask.probe,
        "solvent_shrink": mask.shrink,
        "solvent_smallest_island": mask.smallest_island,
    }


def occupancies(problem: Problem, start: Atoms, state: State) -> tuple[dict[str, Any], ...]:
    """Groups that share an occupancy: what excludes what, occupancy at the start and at the end."""
    groups = problem.occupancy
    if groups is None:
        return ()
    every = np.arange(len(groups))
    values = (groups.occupancies(atoms, every).tolist() for atoms in (start, state.atoms))
    alternative = [int(k) if k >= 0 else None for k in groups.alternative]
    return tuple(
        {"name": name, "alternative": k, "start": before, "final": after}
        for number, (name, k, before, after) in enumerate(zip(groups.names, alternative, *values))
        if number not in groups.empty
    )


def extra_targets(problem: Problem, first: State, last: State) -> tuple[dict[str, Any], ...]:
    """Name, weight as it was given, and value at the start and at the end of each target that the user brought."""
    return tuple(
        {"name": t.name, "weight": t.weight, "start": t(first.atoms)[0], "final": t(last.atoms)[0]}
        for t in problem.extra
    )


def extra_sentences(rows: tuple[dict[str, Any], ...]) -> list[str]:
    """A sentence on each of these targets."""
    return [
        f"extra target {row['name']}: weight {row['weight']}, {row['start']:.4g} -> {row['final']:.4g}" for row in rows
    ]
