"""Values of a model that cannot be right: put into range with a note, or refused with an error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from arrayrefine.atoms import Identity, coexist
from arrayrefine.displacements.displacement import B_BOUNDS, EIGHT_PI_SQUARED, U_LIMITS, large_b
from arrayrefine.errors import InputError
from arrayrefine.io.models.dummy_atoms import UNKNOWN_ATOM
from arrayrefine.kernels import symmetric
from arrayrefine.wording import Caution, are, counted, listed

Float = NDArray[np.float64]

B_MIN = B_BOUNDS[0]
"""Smallest B at the start, Å²."""

DEFAULT_B = 30.0
"""B where a model holds not one usable value, Å²."""

_UNKNOWN = 9999.0 - 1e-3
"""Å; three coordinates like that are how X-PLOR and CNS write that they are unknown."""

OVERLAP = 0.1
"""Distance below which two atoms are on top of each other, Å."""


def named(identity: Identity, indices: Sequence[int] | NDArray[np.int64], limit: int = 5) -> str:
    """Labels of the first `limit` atoms, and how many more there are."""
    listed = ", ".join(identity.label(int(i)) for i in indices[:limit])
    return listed if len(indices) <= limit else f"{listed} and {len(indices) - limit} more"


def check_coordinates(path: object, identity: Identity, xyz: Float, element: NDArray[np.str_]) -> None:
    """Raise `InputError` for coordinates that are missing, not finite, or say that nobody knows."""
    unknown = (xyz >= _UNKNOWN).all(axis=1)
    origin = (xyz == 0.0).all(axis=1) & ~np.isin(element, ("H", "D"))
    sites = set(zip(identity.residue[origin].tolist(), identity.atom_name[origin].tolist()))
    bad = np.flatnonzero(~np.isfinite(xyz).all(axis=1) | unknown | (origin & (len(sites) > 1)))
    if len(bad):
        raise InputError(
            f"model '{path}': {counted(len(bad), 'atom')} without usable coordinates: {named(identity, bad)}; "
            "expected three numbers (Å), other than 9999 or, for more than one atom, 0 0 0, by which programs mark "
            "atoms without a place: complete or remove these atoms"
        )


def check_elements(path: object, identity: Identity, element: NDArray[np.str_]) -> None:
    """Raise `InputError` for atoms of unknown element (gemmi's "X"), and for hydrogens without any other atom."""
    if len(element) and np.isin(element, ("H", "D")).all():
        raise InputError(
            f"model '{path}': found hydrogens alone ({named(identity, np.arange(len(element)))}), expected the atoms "
            "that they are bonded to as well: give the whole model"
        )
    bad = np.flatnonzero(element == "X")
    if len(bad):
        raise InputError(
            f"model '{path}': {counted(len(bad), 'atom')} of unknown element: {named(identity, bad)}; expected a "
            "symbol of the periodic table, without which nothing says how they scatter, with --unknown hold neither. "
            "Correct the element (PDB columns 77-78, mmCIF _atom_site.type_symbol) or, where nobody knows it, name the "
            f"residue {UNKNOWN_ATOM}, of which each atom is one, or remove these atoms from the model"
        )


def check_duplicates(path: object, identity: Identity) -> None:
    """Raise `InputError` where two atoms have the same chain, residue, name and altloc."""
    seen: dict[tuple[str, str, str, int, str, str], int] = {}
    twice = []
    columns = (
        identity.chain.tolist(),
        identity.residue_name.tolist(),
        identity.insertion_code.tolist(),
        identity.sequence_number.tolist(),
        identity.atom_name.tolist(),
        identity.altloc.tolist(),
    )
    for i, key in enumerate(zip(*columns)):
        if seen.setdefault(key, i) != i:
            twice.append(i)
    if twice:
        raise InputError(
            f"model '{path}': {counted(len(twice), 'atom')} given twice (same chain, residue, name and altloc): "
            f"{named(identity, twice)}; expected each once: rename, renumber or remove one of each pair, or "
            "give them different altlocs"
        )


def fix_b(identity: Identity, element: NDArray[np.str_], b_iso: Float) -> tuple[Float, tuple[str, ...]]:
    """Put B factors (N,) into the range that refinement starts from.

    Values that say nothing (zero, negative, not a number) become the median of the good ones, since an
    atom that starts at the lowest B is a spike in the map; values beyond the range become its limits.
    Hydrogens are told apart, and are no reason to warn: as a rule they ride, with B of what they ride on.
    """
    notes: list[str] = []
    most = large_b(b_iso)
    good = np.isfinite(b_iso) & (b_iso >= B_MIN) & (b_iso <= most)
    typical = float(np.median(b_iso[good])) if good.any() else DEFAULT_B
    fixed = b_iso.copy()
    void = np.flatnonzero(~np.isfinite(b_iso) | (b_iso <= 0.0))
    fixed[void] = typical
    light = np.isin(element[void], ("H", "D"))
    source = "the median of the model" if good.any() else "a default, as no atom has a usable B"
    for members, kind in ((void[~light], "atom"), (void[light], "hydrogen")):
        if len(members):
            said = (
                f"B was zero, negative or not a number and is set to {typical:.1f} Å² ({source}) "
                f"for {counted(len(members), kind)}: {named(identity, members)}"
            )
            notes.append(Caution(said) if kind == "atom" else f"{said}; it counts only for those that do not ride")
    with np.errstate(invalid="ignore"):
        sharp = np.flatnonzero((fixed > 0.0) & (fixed < B_MIN))
        blurred = np.flatnonzero(fixed > most)
    for members, limit, side in ((sharp, B_MIN, "below"), (blurred, most, "above")):
        if len(members):
            fixed[members] = limit
            notes.append(f"B was {side} {limit:g} Å² and is set to it for {counted(len(members), 'atom')}: "
                         f"{named(identity, members)}")  # fmt: skip
    return fixed, tuple(notes)


def fix_u(identity: Identity, b_iso: Float, u_aniso: Float) -> tuple[Float, tuple[str, ...]]:
    """Anisotropic parts (N, 6) with which every U is positive definite: others are made rounder, their B kept."""
    mean = b_iso / EIGHT_PI_SQUARED
    lowest = symmetric.eigenvalues(u_aniso)[:, 0]
    flat = np.flatnonzero(mean + lowest < U_LIMITS[0])
    if not len(flat):
        return u_aniso, ()
    fixed = u_aniso.copy()
    fixed[flat] *= (np.maximum(mean[flat] - U_LIMITS[0], 0.0) / -lowest[flat])[:, None]
    which = f"{counted(len(flat), 'atom')}: {named(identity, flat)}"
    return fixed, (f"ANISOU was not positive definite and is made rounder for {which}",)


def fix_occupancy(
    path: object, identity: Identity, element: NDArray[np.str_], occupancy: Float, *, ours: bool = False
) -> tuple[Float, tuple[str, ...]]:
    """Put occupancies (N,) into 0..1, and count the atoms of zero occupancy, which are kept.

    In `ours`, a model that arrayrefine wrote, it was this that gave hydrogens none, and said so.
    """
    notes: list[str] = []
    fixed = occupancy.copy()
    with np.errstate(invalid="ignore"):
        cases = (
            (~np.isfinite(occupancy), 1.0, "was not a number"),
            (np.isfinite(occupancy) & (occupancy < 0.0), 0.0, "was negative"),
            (np.isfinite(occupancy) & (occupancy > 1.0), 1.0, "was above 1"),
        )
    for where, value, fault in cases:
        members = np.flatnonzero(where)
        if len(members):
            fixed[members] = value
            what = f"occupancy {fault} and is set to {value:g} for {counted(len(members), 'atom')}"
            notes.append(Caution(f"{what}: {named(identity, members)}"))
    zero = np.flatnonzero(fixed == 0.0)
    if len(zero) == len(fixed):
        raise InputError(
            f"model '{path}': all {counted(len(fixed), 'atom')} have zero occupancy, so nothing scatters; "
            "expected occupancies between 0 and 1: set them (1.00 for a fully occupied atom)"
        )
    hydrogen = np.isin(element[zero], ("H", "D"))
    for rows, kind, unless in (
        (zero[~hydrogen], "atom", ""), (zero[hydrogen], "hydrogen", ", unless hydrogens are placed anew or stripped")
    ):  # fmt: skip
        if len(rows) and not (ours and kind == "hydrogen"):
            what = f"{counted(len(rows), kind)} of zero occupancy {are(len(rows))} kept, without scattering{unless}"
            notes.append(f"{what}: {named(identity, rows)}")
    return fixed, tuple(notes)


def overlap_notes(identity: Identity, xyz: Float) -> tuple[str, ...]:
    """Name pairs of atoms closer than 0.1 Å that exist at the same time (same or blank altloc)."""
    pairs = cKDTree(xyz).query_pairs(OVERLAP, output_type="ndarray")
    if not len(pairs):
        return ()
    pairs = pairs[coexist(identity.altloc[pairs[:, 0]], identity.altloc[pairs[:, 1]])]
    if not len(pairs):
        return ()
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    labels = listed([f"{identity.label(int(i))} on {identity.label(int(j))}" for i, j in pairs])
    what = f"{counted(len(pairs), 'pair')} of atoms on top of each other (closer than {OVERLAP} Å)"
    return (Caution(f"{what}: {labels}"),)
