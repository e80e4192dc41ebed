"""Which atoms move together as a rigid body: TLS groups by chain or by selection."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from arrayrefine.atoms import Atoms
from arrayrefine.displacements.displacement import on_sites, parted, possible, total_u
from arrayrefine.displacements.tls import NUMBERS, Tls, design
from arrayrefine.displacements.tls_motion import selection_of
from arrayrefine.errors import InputError
from arrayrefine.options import TLS_KEYWORDS
from arrayrefine.selection import NAMELESS, select
from arrayrefine.topology.polymers import of_polymers
from arrayrefine.wording import counted

Mask = NDArray[np.bool_]
Int = NDArray[np.int64]

LEAST_ATOMS = 20
"""A smaller group has as many numbers as its atoms have B factors of their own."""
AUTO_REFLECTIONS = 10.0
"""Work reflections per number of all groups that `auto` asks for."""
SEGMENTED = (("auto",), ("segments",))
"""Values of `Options.tls` with which chains are cut where the data ask for it."""
TOUCH = 4.0
"""Å; a ligand that comes nearer to atoms of a chain belongs to that with most of them."""
_POLYMER = (("N", "CA", "C"), ("C3'", "C4'", "O3'"))
"""Atoms by which a residue of a protein or of a nucleic acid is known."""
_LINKS = (("C", "N"), ("O3'", "P"))
_LINKED = 2.5
"""Å; longer than any bond, so that residues of a rough start are linked too."""


def wants_groups(option: tuple[str, ...]) -> bool:
    """Whether TLS groups were asked for by name: they then come before anisotropic atoms that nobody asked for."""
    return option not in (("none",), ("auto",))


def choose_tls(
    atoms: Atoms, option: tuple[str, ...], n_work: int, known: NDArray[np.float64] | None = None,
    frozen: Mask | None = None, header: Sequence[Mask] = (), no_header: str = "",
) -> tuple[Atoms, tuple[str, ...]]:
    """Atoms with the TLS groups that an option names, and what to say about it.

    Members are isotropic but for their group. Anisotropic atoms are none, for their own U holds all that a group could
    give, nor are hydrogens, which follow the equivalent B of their parents.

    Parameters
    ----------
    atoms : Atoms
        After the choice of the anisotropic ones.
    option : tuple of str
        ("none",); ("chain",) or ("segments",), which start by chain; ("auto",), which does if all groups together have
        enough reflections; or one selection for each group.
    n_work : int
        Work reflections.
    known : (N, 6) float64, optional
        Traceless parts of U in the model as read; the groups start from what of them a rigid body can do.
    frozen : (N,) bool, optional
        Atoms whose displacements the user froze: members of groups by selection only.
    header : sequence of (N,) bool, optional
        Groups that the model's header names: with `known`, those by chain, and those found in the data, start from
        them, where they do not overlap.
    no_header : str, optional
        Why there are none though the header has groups, said where they would have been taken.

    Returns
    -------
    atoms : Atoms
    notes : tuple of str

    Raises
    ------
    InputError
        A selection cannot be read, names too few atoms, or atoms of another.
    """
    able = ~(atoms.is_hydrogen | atoms.anisotropic | atoms.riding.mask(len(atoms)))
    moving = atoms.anisotropic if frozen is None else atoms.anisotropic & ~frozen
    if option == ("none",) or (option == ("auto",) and moving.any()):
        return atoms, ()
    refused: list[str] = []
    if option not in (("chain",), *SEGMENTED):
        members, names, notes = _by_selection(atoms, able, option), option, list[str]()
    else:
        if frozen is not None:
            able &= ~frozen
        if option in SEGMENTED and known is not None and known.any():
            most = n_work / (AUTO_REFLECTIONS * NUMBERS) if option == ("auto",) else np.inf
            members, names, notes, refused = _by_header_or_chain(atoms, able, known, header, no_header, most)
        else:
            members, names, notes = _by_chain(atoms, able)
    if not members:
        none = f"--tls {option[0]} makes no group: no chain of a polymer has atoms neither anisotropic nor frozen"
        return atoms, () if option == ("auto",) else tuple(notes or [none])
    if option == ("auto",) and n_work < AUTO_REFLECTIONS * NUMBERS * len(members):
        return atoms, tuple(refused)
    still = _still(atoms, members, tuple(names))
    notes.insert(0, f"{counted(len(members), 'TLS group')}: " + "; ".join(
        f"{name} ({len(index)} atoms)" for name, index in zip(names, members)
    ))  # fmt: skip
    atoms = dataclasses.replace(atoms, tls=still)
    if known is not None and known[still.group >= 0].any():
        atoms = _started(atoms, known)
        notes.append(
            "TLS starts from that part of the model's ANISOU by which its groups move as rigid bodies: only the rest "
            "is lost"
        )
    return atoms, tuple(notes)


def grouped(atoms: Atoms, members: Sequence[Int], names: tuple[str, ...]) -> Atoms:
    """Atoms in other groups, each with the motion that comes nearest to what its atoms' U are."""
    return _started(dataclasses.replace(atoms, tls=_still(atoms, members, names)), atoms.u_aniso)


def _still(atoms: Atoms, members: Sequence[Int], names: tuple[str, ...]) -> Tls:
    """Groups about the centres of their atoms, without motion."""
    group = np.full(len(atoms), -1, dtype=np.int64)
    for number, index in enumerate(members):
        group[index] = number
    origin = np.array([np.average(atoms.xyz[i], axis=0, weights=atoms.occupancy[i] + 1e-6) for i in members])
    return Tls(group, origin, np.zeros((len(members), NUMBERS)), names)


def _by_selection(atoms: Atoms, able: Mask, selections: tuple[str, ...]) -> list[Int]:
    """Members of one group for each selection."""
    taken = np.full(len(atoms), -1)
    members = []
    for number, text in enumerate(selections):
        chosen = select(atoms, text, "--tls", TLS_KEYWORDS)
        index = np.flatnonzero(chosen & able)
        if len(index) < LEAST_ATOMS:
            own = int((chosen & atoms.anisotropic).sum())
            reason = f" ({own} more are anisotropic on their own, see --anisotropic)" if own else ""
            raise InputError(
                f"--tls '{text}': found {counted(len(index), 'atom')} without hydrogens{reason}, expected at least "
                f"{LEAST_ATOMS}; choose a larger group"
            )
        shared = index[taken[index] >= 0]
        if len(shared):
            other = selections[taken[shared[0]]]
            raise InputError(
                f"--tls '{text}' and '{other}' both name {atoms.identity.label(int(shared[0]))} "
                f"({counted(len(shared), 'atom')} in all); expected groups that do not overlap"
            )
        taken[index] = number
        members.append(index)
    return members


def residue_rows(atoms: Atoms) -> Int:
    """Which residue each atom (N,) belongs to, counted in the order of `Identity.residue`."""
    return np.unique(atoms.identity.residue, return_inverse=True)[1].reshape(-1)


def polymer_residues(atoms: Atoms) -> Mask:
    """Which residues, counted as `residue_rows` does, are those of a polymer.

    They have its backbone, and are components that chains are made of or linked to another residue that has it: folate
    and nucleotides such as ATP have the names of a backbone as well.
    """
    who, residue = atoms.identity, residue_rows(atoms)
    polymer = np.zeros(residue.max(initial=-1) + 1, dtype=bool)
    for backbone in _POLYMER:
        there = [np.bincount(residue, who.atom_name == name, minlength=len(polymer)) > 0 for name in backbone]
        polymer |= np.logical_and.reduce(there)
    usual = of_polymers(who.residue_name)
    kept = np.bincount(residue, usual, minlength=len(polymer)) > 0
    for names in _LINKS:
        one, two = (np.flatnonzero((who.atom_name == name) & polymer[residue]) for name in names)
        if len(one) and len(two):
            near = cKDTree(atoms.xyz[one]).query_ball_tree(cKDTree(atoms.xyz[two]), _LINKED)
            for i, found in zip(residue[one], near):
                others = np.setdiff1d(residue[two[found]], [i])
                kept[others] = True
                kept[i] |= len(others) > 0
    return polymer & kept


def _by_chain(atoms: Atoms, able: Mask) -> tuple[list[Int], tuple[str, ...], list[str]]:
    """Polymer chains with the ligands that touch them; waters, ions and what touches nothing stay out."""
    who = atoms.identity
    residue = residue_rows(atoms)
    polymer = polymer_residues(atoms)
    water = select(atoms, "water")
    core = polymer[residue] & able & ~water
    chains = [str(name) for name in dict.fromkeys(who.chain[core].tolist())]
    number = np.full(len(atoms), -1)
    for k, name in enumerate(chains):
        number[core & (who.chain == name)] = k
    heavy = np.bincount(residue, able, minlength=len(polymer))
    loose = np.flatnonzero(able & ~core & ~water & (heavy > 1)[residue])
    if len(loose) and core.any():
        inside = np.flatnonzero(core)
        near = cKDTree(atoms.xyz[inside]).query_ball_point(atoms.xyz[loose], TOUCH)
        touched = np.zeros((len(polymer), len(chains)))
        for atom, found in zip(loose, near):
            touched[residue[atom]] += np.bincount(number[inside[found]], minlength=len(chains))
        bound = loose[touched[residue[loose]].any(axis=1)]
        number[bound] = touched[residue[bound]].argmax(axis=1)
    members: list[Int] = []
    names: list[str] = []
    notes: list[str] = []
    for k, name in enumerate(chains):
        index = np.flatnonzero(number == k)
        if len(index) < LEAST_ATOMS:
            notes.append(f"chain {name or NAMELESS} has {counted(len(index), 'atom')}, too few for a TLS group")
        else:
            members.append(index)
            names.append(f"chain {name or NAMELESS}")
    return members, tuple(names), notes


def _by_header_or_chain(
    atoms: Atoms, able: Mask, known: NDArray[np.float64], header: Sequence[Mask], no_header: str, most: float
) -> tuple[list[Int], tuple[str, ...], list[str], list[str]]:
    """The groups of a header where they can be used, else those by chain, and what to say; and why not the header's."""
    members, names, notes = _by_chain(atoms, able)
    if not members:
        return members, names, notes, []
    if not header:
        return members, names, [*notes, *([no_header] if no_header else [])], []
    found, called, said = _by_header(atoms, able, known, header, most)
    return (found, called, said, []) if found else (members, names, said + notes, said)


def _by_header(
    atoms: Atoms, able: Mask, known: NDArray[np.float64], header: Sequence[Mask], most: float
) -> tuple[list[Int], tuple[str, ...], list[str]]:
    """The groups of a header as they are, but for those of too few atoms; none, and why, where they cannot be used.

    Ranges of residues may hold waters that were in no group: these have no ANISOU.
    """
    able = able & (known.any(axis=1) | ~select(atoms, "water"))
    twice = np.flatnonzero(able & (np.sum(header, axis=0) > 1))
    parts = [index for index in (np.flatnonzero(mask & able) for mask in header) if len(index) >= LEAST_ATOMS]
    refused = "the TLS groups of the model's header are not taken: "
    if len(twice):
        return [], (), [f"{refused}more than one holds {atoms.identity.label(int(twice[0]))}"]
    if not parts:
        return [], (), [f"{refused}none has {LEAST_ATOMS} atoms that can be in a group"]
    if len(parts) > most:
        return [], (), [f"{refused}the work reflections are too few for {len(parts)}"]
    small = len(header) - len(parts)
    notes = ["the TLS groups are those of the model's header; atoms in none of them are in none"]
    if small:
        notes.append(f"{counted(small, 'TLS group')} of the model's header left out: too few atoms, or none found")
    every = dataclasses.replace(atoms, tls=_still(atoms, [np.flatnonzero(able)], ("all",)))
    polymer = polymer_residues(atoms)[residue_rows(atoms)]
    named = [polymer if polymer[index].any() else np.ones_like(polymer) for index in parts]
    return parts, tuple(selection_of(every, *one) for one in zip(parts, named)), notes


def _started(atoms: Atoms, known: NDArray[np.float64]) -> Atoms:
    """Members with the motion that comes nearest to given traceless parts of U (N, 6)."""
    tls = atoms.tls
    values, u_aniso, b_iso = tls.values.copy(), atoms.u_aniso.copy(), atoms.b_iso.copy()
    for number in range(len(tls)):
        index = np.flatnonzero(tls.group == number)
        matrix = design(atoms.xyz[index] - tls.origin[number])
        mean = matrix[:, :3].mean(axis=1)
        shape = matrix.copy()
        shape[:, :3] -= mean[:, None]
        values[number] = np.linalg.lstsq(shape.reshape(-1, NUMBERS), known[index].reshape(-1), rcond=1e-6)[0]
        u_aniso[index] = np.einsum("nij,j->ni", shape, values[number])
    started = dataclasses.replace(atoms, u_aniso=u_aniso)
    inside = tls.group >= 0
    u = on_sites(atoms, total_u(started, inside), inside)
    b_iso[inside], u_aniso[inside] = parted(possible(u))
    return started.replace(b_iso=b_iso, u_aniso=u_aniso, tls=dataclasses.replace(tls, values=values))
