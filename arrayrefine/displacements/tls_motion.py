"""What TLS groups say about motion: tensors and their eigenvalues, and the B that each atom has besides."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.displacements.displacement import EIGHT_PI_SQUARED, on_sites, parted, possible, total_u
from arrayrefine.displacements.tls import numbers_of, tensors_of
from arrayrefine.kernels import symmetric

Float = NDArray[np.float64]

_DEGREES = 180.0 / np.pi
_NEGATIVE = 0.005
"""Å² and degree²; below the negative of it an eigenvalue is said to be negative."""
_MOST = 0.5
"""Of the members of a group, whose U cannot be what their group and their own B make of it."""


def residual_b(atoms: Atoms) -> Float:
    """B (N,) that atoms have besides what their groups give them, Å²."""
    u = on_sites(atoms, atoms.tls.u(atoms.xyz))
    return np.asarray(atoms.b_iso - EIGHT_PI_SQUARED / 3.0 * symmetric.trace(u))


def settled(atoms: Atoms) -> Atoms:
    """The same displacements, with what all members of a group share in its T, until one of them has no B of its own.

    T and the members' own B have the isotropic part of T in common; the data see their sum. Where T would be no motion
    yet it takes more, and some members are left with a B below zero.
    """
    tls, rest = atoms.tls, residual_b(atoms)
    values = tls.values.copy()
    for number in range(len(tls)):
        least = symmetric.eigenvalues(values[number, :6])[0]
        values[number, :3] += max(rest[tls.group == number].min() / EIGHT_PI_SQUARED, -least)
    return atoms.replace(tls=dataclasses.replace(tls, values=values))


def sensible(atoms: Atoms) -> Atoms:
    """Atoms whose groups move as bodies can: T and L of each without negative eigenvalues, settled.

    What is anisotropic about the atoms' U is then that of their group at their present places, which moved since it was
    refined. A libration that would be negative is taken as none, with the part of S that it drives; what is anisotropic
    about the atoms' U follows, their B do not.
    """
    atoms = _as_placed(settled(atoms))
    tls = atoms.tls
    values = np.array([_possible_motion(group) for group in tls.values]).reshape(tls.values.shape)
    changed = np.append((values != tls.values).any(axis=1), False)[tls.group]
    if not changed.any():
        return atoms
    after = dataclasses.replace(tls, values=values)
    step = on_sites(atoms, after.u(atoms.xyz) - tls.u(atoms.xyz))
    step -= symmetric.isotropic(symmetric.trace(step) / 3.0)
    b_iso, u_aniso = atoms.b_iso.copy(), atoms.u_aniso.copy()
    b_iso[changed], u_aniso[changed] = parted(possible((total_u(atoms) + step)[changed]))
    return settled(atoms.replace(b_iso=b_iso, u_aniso=u_aniso, tls=after))


def in_reach(atoms: Atoms, before: Atoms) -> tuple[Atoms, int]:
    """Atoms with what a step made of their groups, and how many groups were given up.

    Where data tell nothing about a motion, as of a model in a wrong place, a step goes anywhere: outside what U can be
    nothing depends on it. A group by which most of its members' U would not lie within `U_LIMITS` is as it was
    `before`, with the displacements of its members; not one that was so before, as a header may have it.
    """
    lost = _astray(atoms)
    if lost:
        lost = sorted({*lost} - {*_astray(before)})
    if not lost:
        return atoms, 0
    values = atoms.tls.values.copy()
    values[lost] = before.tls.values[lost]
    these = np.isin(atoms.tls.group, lost)
    return atoms.replace(
        b_iso=np.where(these, before.b_iso, atoms.b_iso),
        u_aniso=np.where(these[:, None], before.u_aniso, atoms.u_aniso),
        tls=dataclasses.replace(atoms.tls, values=values),
    ), len(lost)


def _astray(atoms: Atoms) -> list[int]:
    """Groups by which most of their members' U do not lie within `U_LIMITS`."""
    inside, whole = _placed(atoms)
    bad, group = (possible(whole) != whole).any(axis=1), atoms.tls.group[inside]
    return [number for number in np.unique(group).tolist() if bad[group == number].mean() > _MOST]


def _as_placed(atoms: Atoms) -> Atoms:
    """Members with what their group makes anisotropic at their present places, and the B that they have."""
    inside, whole = _placed(atoms)
    b_iso, u_aniso = atoms.b_iso.copy(), atoms.u_aniso.copy()
    b_iso[inside], u_aniso[inside] = parted(possible(whole))
    return atoms.replace(b_iso=b_iso, u_aniso=u_aniso)


def _placed(atoms: Atoms) -> tuple[NDArray[np.int64], Float]:
    """Members of groups (n,), and U (n, 6) of their B and what their group makes anisotropic at their places."""
    inside = np.flatnonzero(atoms.tls.group >= 0)
    u = on_sites(atoms, atoms.tls.u(atoms.xyz))
    return inside, parted(u[inside])[1] + symmetric.isotropic(atoms.b_iso[inside] / EIGHT_PI_SQUARED)


def _possible_motion(values: Float) -> Float:
    """The 20 numbers of a group with L positive semi-definite; the same where it is."""
    translation, libration, screw = tensors_of(values)
    along, axes = np.linalg.eigh(libration)
    if along[0] >= 0.0:
        return values
    screw = axes @ np.diag((along > 0.0).astype(float)) @ axes.T @ screw
    screw -= np.trace(screw) / 3.0 * np.eye(3)
    return numbers_of(translation, symmetric.matrices(symmetric.within(values[6:12], 0.0)), screw)


def describe(atoms: Atoms) -> tuple[dict[str, Any], ...]:
    """One record per group: name, atoms, ranges of residues, origin (Å), T (Å²), L (degree²),
    S (Å degree), eigenvalues, and the least, mean and largest of the members' own B (Å²).
    """
    tls, rest = atoms.tls, residual_b(atoms)
    out = []
    for number, name in enumerate(tls.names):
        inside = tls.group == number
        translation, libration, screw = tensors_of(tls.values[number])
        libration, screw = libration * _DEGREES**2, screw * _DEGREES
        out.append(
            {
                "name": name, "atoms": int(inside.sum()), "ranges": ranges(atoms, inside),
                "origin": tls.origin[number].tolist(),
                "T": translation.tolist(), "L": libration.tolist(), "S": screw.tolist(),
                "T_eigenvalues": np.linalg.eigvalsh(translation).tolist(),
                "L_eigenvalues": np.linalg.eigvalsh(libration).tolist(),
                "residual_b": [float(rest[inside].min()), float(rest[inside].mean()), float(rest[inside].max())],
            }
        )  # fmt: skip
    return tuple(out)


def ranges(atoms: Atoms, inside: NDArray[np.bool_]) -> list[list[str]]:
    """Chain, first and last residue number of the runs of residues that some atoms (N,) come from.

    Runs follow the numbers, whatever the order in the file: a ligand may have one in a gap of its chain.
    """
    who = atoms.identity
    names = who.chain.tolist()
    order = {name: k for k, name in enumerate(dict.fromkeys(names))}
    _, first, residue = np.unique(who.residue, return_index=True, return_inverse=True)
    holds = np.bincount(residue.reshape(-1), inside) > 0
    rows = [(order[names[i]], int(who.sequence_number[i]), str(who.insertion_code[i])) for i in first.tolist()]
    found = []
    for (chain, within), run in itertools.groupby(sorted(zip(rows, holds.tolist())), lambda row: (row[0][0], row[1])):
        if within:
            ends = [f"{number}{code}" for (_, number, code), _ in run]
            found.append([[*order][chain], ends[0], ends[-1]])
    return found


def selection_of(atoms: Atoms, index: NDArray[np.int64], polymer: NDArray[np.bool_]) -> str:
    """A selection that names a body by its residues of polymers (N,): "chain A", or "chain A and (1-39 or 89-129)"."""
    inside = np.zeros(len(atoms), dtype=bool)
    inside[index] = True
    runs: dict[str, list[str]] = {}
    for chain, first, last in ranges(atoms, inside & polymer):
        one, two = (end if end[-1].isdigit() else end[:-1] for end in (first, last))
        runs.setdefault(chain, []).append(one if one == two else f"{one}-{two}")
    parts = []
    for chain, texts in runs.items():
        elsewhere = polymer & ~inside & (atoms.tls.group >= 0) & (atoms.identity.chain == chain)
        numbers = texts[0] if len(texts) == 1 else f"({' or '.join(texts)})"
        parts.append(f"chain {chain} and {numbers}" if elsewhere.any() else f"chain {chain}")
    return parts[0] if len(parts) == 1 else " or ".join(f"({part})" if " and " in part else part for part in parts)


def _row(values: list[float], digits: int) -> str:
    """Numbers without a minus before a zero."""
    return " ".join(f"{round(value, digits) + 0.0:.{digits}f}" for value in values)


def sentences(groups: tuple[dict[str, Any], ...]) -> list[str]:
    """What to say about each group of `describe`."""
    out = []
    for group in groups:
        moved, turned = group["T_eigenvalues"], group["L_eigenvalues"]
        axes = f"T {_row(moved, 3)} Å², L {_row(turned, 2)} degree²"
        text = f"TLS of {group['name']}: {axes} along the axes, {group['residual_b'][1]:.1f} Å² of B besides"
        if min(moved[0], turned[0]) < -_NEGATIVE:
            text += "; a negative value is no motion of a rigid body: smaller groups may be better"
        out.append(text)
    return out
