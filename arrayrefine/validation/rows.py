"""Look at a model from all sides: fit to the map, geometry, torsions, clashes, and what the maps show besides."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.arguments import check_types
from arrayrefine.atoms import WATERS, Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.kernels.processes import gathered
from arrayrefine.maps import MapCoefficients
from arrayrefine.problem import Problem
from arrayrefine.real_space.map_grids import Grids, MapGrid
from arrayrefine.real_space.model_maps import maps_of
from arrayrefine.real_space.peaks import Blob, Peak, anomalous_peaks, find_blobs, find_peaks
from arrayrefine.rebuilding.bound import bound
from arrayrefine.rebuilding.carboxamides import carboxamides_of
from arrayrefine.rebuilding.nqh_ends import WORTH_TURNING, ends_of, gained_by_contacts
from arrayrefine.restraints import Restraints
from arrayrefine.state import State
from arrayrefine.topology.polymers import residues_of
from arrayrefine.validation.clashes import Clashes, find_clashes
from arrayrefine.validation.density_fit import correlations, map_levels, mask_radius
from arrayrefine.validation.geometry import Outlier, find_outliers
from arrayrefine.validation.labels import atom_label, residue_label
from arrayrefine.validation.result import (
    BlobRow,
    ClashRow,
    FlipRow,
    OutlierRow,
    PeakRow,
    ResidueKind,
    ResidueRow,
    Validation,
)
from arrayrefine.validation.torsions import Backbone, SideChain, classify_backbone, classify_side_chains

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_MAIN = ("N", "CA", "C", "O", "OXT")


def validate(problem: Problem, state: State, maps: MapCoefficients | None = None) -> Validation:
    """Validate an evaluated model against its data and the dictionary.

    Parameters
    ----------
    problem : Problem
    state : State
        See `evaluate`.
    maps : MapCoefficients, optional
        Of this state, where they are known already.
    """
    check_types("validate", problem=(problem, Problem), state=(state, State))
    crystal = problem.reflections.crystal
    coefficients = maps_of(problem, state) if maps is None else maps
    found = validate_model(state.atoms, problem.restraints, crystal, coefficients)
    return dataclasses.replace(found, r_work=state.statistics.r_work, r_free=state.statistics.r_free)


def validate_model(
    atoms: Atoms,
    restraints: Restraints,
    crystal: Crystal,
    maps: MapCoefficients | Grids | None = None,
) -> Validation:
    """Validate a model; without maps its geometry alone.

    Parameters
    ----------
    atoms : Atoms
        With their hydrogens.
    restraints : Restraints
    crystal : Crystal
    maps : MapCoefficients or Grids, optional
    """
    n = int(atoms.identity.residue.max(initial=-1)) + 1
    grids = Grids.of(maps, crystal) if isinstance(maps, MapCoefficients) else maps
    tasks: list[Callable[[], Any]] = [
        lambda: None if grids is None else _fit(atoms, grids.best, grids.model, n),
        lambda: (_besides(atoms, grids), _Stereochemistry.of(atoms, restraints, crystal, n)),
    ]
    fit, ((peaks, blobs, anomalous), stereochemistry) = gathered(tasks)
    clashes = stereochemistry.clashes
    there = atoms.occupancy > 0.0
    alone = sum(symmetry is None for symmetry in clashes.symmetry)
    return Validation(
        _residue_rows(atoms, stereochemistry, fit, n),
        _outlier_rows(stereochemistry.outliers, atoms),
        _clash_rows(clashes, atoms),
        clashes.score,
        1000.0 * alone / clashes.n_atoms if clashes.n_atoms else None,
        clashes.n_atoms,
        int((atoms.is_hydrogen & there).sum()),
        peaks,
        blobs,
        stereochemistry.counts,
        _flip_rows(atoms, restraints, crystal),
        anomalous,
    )


class _Stereochemistry(NamedTuple):
    """What is found without a map."""

    outliers: Sequence[Outlier]
    worst: Float
    counts: Mapping[str, Mapping[str, int]]
    clashes: Clashes
    backbone: Mapping[int, Backbone]
    side_chains: Mapping[int, SideChain]

    @classmethod
    def of(cls, atoms: Atoms, restraints: Restraints, crystal: Crystal, n: int) -> _Stereochemistry:
        outliers, worst, counts = find_outliers(atoms, restraints, n)
        r = restraints
        clashes = find_clashes(atoms, r.bonds, r.non_bonded, crystal, at_nuclei=r.at_nuclei)
        residues = residues_of(atoms)
        backbone = classify_backbone(atoms, restraints.bonds.index, residues)
        return cls(outliers, worst, counts, clashes, backbone, classify_side_chains(atoms, residues))


def _besides(
    atoms: Atoms, grids: Grids | None
) -> tuple[tuple[PeakRow, ...], tuple[BlobRow, ...], tuple[PeakRow, ...]]:
    """What maps show besides the model: peaks, blobs, and what scatters anomalously."""
    if grids is None:
        return (), (), ()
    peaks = peak_rows(find_peaks(grids.difference, atoms), atoms)
    anomalous = () if grids.anomalous is None else peak_rows(anomalous_peaks(grids.anomalous, atoms), atoms)
    return peaks, blob_rows(find_blobs(grids.best, grids.difference, atoms), atoms), anomalous


@dataclass(frozen=True)
class _Fit:
    """Columns (n,) by residue: correlation of all atoms, main chain, side chain; mean density in sigma."""

    whole: Float
    main: Float
    side: Float
    level: Float


def _fit(atoms: Atoms, best: MapGrid, model: MapGrid, n: int) -> _Fit:
    residue, radius = atoms.identity.residue, mask_radius(best.d_min)
    heavy = ~atoms.is_hydrogen & (atoms.occupancy > 0.0)
    group = np.where(heavy, residue, -1)
    main = np.isin(atoms.identity.atom_name, _MAIN)
    protein = np.isin(atoms.identity.residue_name, [x for x in _names(atoms) if _kind(x, 2) == "protein"])
    parts = np.where(heavy & protein, 2 * residue + ~main, -1)
    both = correlations(best, model, atoms.xyz, parts, 2 * n, radius).reshape(n, 2)
    whole = correlations(best, model, atoms.xyz, group, n, radius)
    return _Fit(whole, both[:, 0], both[:, 1], map_levels(best, atoms.xyz, group, n))


def _names(atoms: Atoms) -> list[str]:
    return sorted(set(atoms.identity.residue_name.tolist()))


def _kind(name: str, size: int) -> ResidueKind:
    """What a residue of some heavy atoms is."""
    if name in WATERS:
        return "water"
    info = gemmi.find_tabulated_residue(name)
    if size > 1 and info.is_amino_acid():
        return "protein"
    if size > 1 and info.is_nucleic_acid():
        return "nucleic"
    return "ion" if size == 1 else "ligand"


def _residue_rows(atoms: Atoms, found: _Stereochemistry, fit: _Fit | None, n: int) -> tuple[ResidueRow, ...]:
    """One row per residue."""
    who, clashes = atoms.identity, found.clashes
    heavy = ~atoms.is_hydrogen
    member = who.residue[heavy]
    size = np.bincount(member, minlength=n)
    b_mean = np.bincount(member, atoms.b_iso[heavy], minlength=n) / np.maximum(size, 1)
    b_max, occupancy = np.full(n, -np.inf), np.full(n, np.inf)
    np.maximum.at(b_max, member, atoms.b_iso[heavy])
    np.minimum.at(occupancy, member, atoms.occupancy[heavy])
    touched = np.bincount(who.residue[clashes.i], minlength=n) + np.bincount(who.residue[clashes.j], minlength=n)
    nothing = np.full(n, np.nan)
    fit = _Fit(nothing, nothing, nothing, nothing) if fit is None else fit
    number, first = np.unique(who.residue, return_index=True)
    kinds = _kinds(who.residue_name[first].tolist(), size[number].tolist())
    rows = []
    for k, i in zip(number.tolist(), first.tolist()):
        if not size[k]:
            continue
        spine, side = found.backbone.get(k, Backbone()), found.side_chains.get(k, SideChain())
        seqid, name = f"{who.sequence_number[i]}{who.insertion_code[i]}", str(who.residue_name[i])
        row = ResidueRow(
            str(who.chain[i]), seqid, name, kinds[name], float(b_mean[k]), float(b_max[k]), float(occupancy[k]),
            _known(fit.whole[k]), _known(fit.main[k]), _known(fit.side[k]), _known(fit.level[k]),
            spine.phi, spine.psi, spine.omega, spine.classified, spine.kind, spine.percentile,
            side.classified, side.name, side.chi, _known(found.worst[k]), int(touched[k]),
        )  # fmt: skip
        rows.append(row)
    return tuple(rows)


def _kinds(names: list[str], sizes: list[int]) -> dict[str, ResidueKind]:
    """Kind of each name, by the most heavy atoms that a residue of that name has."""
    largest: dict[str, int] = {}
    for name, size in zip(names, sizes):
        largest[name] = max(largest.get(name, 0), size)
    return {name: _kind(name, size) for name, size in largest.items()}


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _outlier_rows(outliers: Sequence[Outlier], atoms: Atoms) -> tuple[OutlierRow, ...]:
    who = atoms.identity
    return tuple(
        OutlierRow(o.kind, tuple(atom_label(who, i) for i in o.atoms), o.value, o.ideal, o.sigma, o.z) for o in outliers
    )


def _clash_rows(clashes: Clashes, atoms: Atoms) -> tuple[ClashRow, ...]:
    who = atoms.identity
    columns = (clashes.i.tolist(), clashes.j.tolist(), clashes.distance.tolist(), clashes.overlap.tolist())
    return tuple(
        ClashRow((atom_label(who, i), atom_label(who, j)), d, overlap, symmetry)
        for i, j, d, overlap, symmetry in zip(*columns, clashes.symmetry)
    )


def _flip_rows(atoms: Atoms, restraints: Restraints, crystal: Crystal) -> tuple[FlipRow, ...]:
    amides = carboxamides_of(atoms, restraints.bonds.index)
    ends = ends_of(atoms, residues_of(atoms), crystal, bound(atoms, restraints, crystal), amides)
    gains = zip(ends, gained_by_contacts(atoms, restraints.non_bonded, crystal, ends).tolist())
    found = [(residue_label(atoms.identity, int(end.rows[0])), gain) for end, gain in gains if gain > WORTH_TURNING]
    return tuple(FlipRow(*row) for row in sorted(found, key=lambda row: -row[1]))


def peak_rows(peaks: Sequence[Peak], atoms: Atoms) -> tuple[PeakRow, ...]:
    return tuple(PeakRow(p.height, p.xyz, atom_label(atoms.identity, p.atom), p.distance) for p in peaks)


def blob_rows(blobs: Sequence[Blob], atoms: Atoms) -> tuple[BlobRow, ...]:
    who = atoms.identity
    return tuple(
        BlobRow(b.volume, b.peak, b.integral, b.xyz, residue_label(who, b.atom) if b.atom >= 0 else "", b.distance)
        for b in blobs
    )
