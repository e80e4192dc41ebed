"""Chiral volumes, and the hands of centres whose neighbours are alike."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.restraints import Chiralities, Int
from arrayrefine.topology.name_symmetry import Skeleton
from arrayrefine.topology.nonbonded import metal_flags
from arrayrefine.topology.terms import TopologyModel, mixed
from arrayrefine.wording import Caution, are, counted, listed

CHIRAL_SIGMA = 0.2
"""Å³."""

Mask = NDArray[np.bool_]
Float = NDArray[np.float64]
Centre = tuple[str, str, str, str]
"""Names of a chiral centre and of three of its neighbours, in the order to which a sign belongs."""


def read_chiralities(
    model: TopologyModel, held: Mask, metal_parts: Mask, edges: Int, atoms: Atoms, monlib: gemmi.MonLib,
    notes: list[str],
) -> Chiralities:  # fmt: skip
    """Chiral volumes with their signs; a centre of which the dictionary has both hands keeps that of the model.

    Centres with metals are left out, and others of components that have some keep the hand that they have: the atom
    names of FeS clusters are arbitrary, so are their signs. Where names
    could be exchanged without a change of the compound, such as those of the arms of citrate, a sign only says which
    of them has which name, and a model named the other way cannot get there without tearing: such centres keep the
    sign that they have. So do amines, which invert by themselves.
    """
    topology, both = model.topology, gemmi.ChiralityType.Both
    across = model.across(gemmi.RKind.Chirality)
    centres = [c for number, c in enumerate(topology.chirs) if number not in across]
    table = model.rows(centres, 4)
    known, of_metals = ~held[table].all(axis=1), metal_parts[table].any(axis=1)
    in_metal = of_metals & metal_flags(atoms.element)[table].any(axis=1)
    volume = np.array([topology.ideal_chiral_abs_volume(centre) for centre in centres], dtype=float)
    positive = np.array([centre.restr.sign == gemmi.ChiralityType.Positive for centre in centres], dtype=bool)
    either = of_metals | np.array([centre.restr.sign == both for centre in centres], dtype=bool)
    sound = np.isfinite(volume) & (volume > 0)
    skipped = int((known & in_metal).sum())
    unknown = int((known & ~in_metal & ~sound).sum())
    if unknown:
        notes.append(f"{counted(unknown, 'chiral centre')} without an ideal volume {are(unknown)} not restrained")
    if skipped:
        said = f"{counted(skipped, 'chiral centre')} with metals {are(skipped)} not restrained"
        notes.append(f"{said}: names are arbitrary")
    fine = known & ~in_metal & sound & ~mixed(model.altloc, table)
    table, value = table[fine], np.where(positive, volume, -volume)[fine]
    names: list[Centre] = [tuple(site.name for site in centres[k].atoms) for k in np.flatnonzero(fine)]  # type: ignore[misc]
    found = Chiralities(table, value, np.full(len(value), CHIRAL_SIGMA))
    present = found.volumes(atoms.xyz)
    value = np.where(either[fine], np.copysign(value, present), value)
    wrong = present * value < 0
    kept = _inverting(edges, atoms)[table[:, 0]] & wrong
    value[kept] *= -1.0
    if (wrong & ~kept).any():
        sign = np.where(either[fine], 0.0, np.sign(value))
        other = _as_exchanged(sign, np.sign(present), table, names, model, atoms, monlib)
        kept |= other
        value[other] *= -1.0
    _say(notes, atoms, table, kept, present * value < 0)
    return dataclasses.replace(found, ideal=value)


def _say(notes: list[str], atoms: Atoms, table: Int, kept: Mask, wrong: Mask) -> None:
    """Name the centres that keep the hand of the model, and those that are to get the other one."""

    def named(chosen: Mask) -> str:
        return listed([atoms.identity.label(int(i)) for i in dict.fromkeys(table[chosen, 0].tolist())])

    if kept.any():
        n = int(kept.sum())
        notes.append(
            f"{counted(n, 'centre')} with equal neighbours, or of an amine, {are(n)} not of the hand that the "
            f"dictionary has by its names; the hand of the model is kept: {named(kept)}"
        )
    if wrong.any():
        n = int(wrong.sum())
        notes.append(Caution(
            f"{counted(n, 'chiral centre')} of the other hand than in the dictionary, whose hand is restrained: "
            f"{named(wrong)}. Where the model is right, the compound is another stereoisomer: give it the name and the "
            "restraint CIF of that one"
        ))


def _inverting(edges: Int, atoms: Atoms) -> Mask:
    """(N,) True for nitrogen with up to three neighbours that are not hydrogen, or are conformers of such."""
    heavy = ~atoms.is_hydrogen
    both = np.vstack([edges, edges[:, ::-1]])
    both = both[heavy[both].all(axis=1)]
    _, name = np.unique(atoms.identity.atom_name, return_inverse=True)
    pairs = np.unique(np.column_stack([both[:, 0], atoms.identity.residue[both[:, 1]], name[both[:, 1]]]), axis=0)
    return np.asarray((atoms.element == "N") & (np.bincount(pairs[:, 0], minlength=len(atoms)) <= 3))


def _as_exchanged(
    sign: Float, present: Float, table: Int, names: Sequence[Centre], model: TopologyModel, atoms: Atoms,
    monlib: gemmi.MonLib,
) -> Mask:  # fmt: skip
    """(n,) True for centres of which the sign is the other one with names exchanged so that the model fits better.

    Signs of 0 have no say.
    """
    altloc = model.altloc[table]
    letter = [next((one for one in row if one), "") for row in altloc.tolist()]
    groups: dict[tuple[int, str], list[int]] = {}
    for k, key in enumerate(zip(atoms.identity.residue[table[:, 0]].tolist(), letter)):
        if sign[k]:
            groups.setdefault(key, []).append(k)
    changed = np.zeros(len(table), dtype=bool)
    for rows in groups.values():
        if not (sign[rows] * present[rows] < 0).any():
            continue
        skeleton = Skeleton.of(monlib.monomers[str(atoms.identity.residue_name[table[rows[0], 0]])])
        if skeleton is None:
            continue
        centres = {names[k]: k for k in rows if set(names[k][1:]) <= set(skeleton.neighbours(names[k][0]))}
        found = _best_signs(
            {c: float(sign[k]) for c, k in centres.items()}, {c: float(present[k]) for c, k in centres.items()},
            skeleton,
        )  # fmt: skip
        for centre, k in centres.items():
            changed[k] = found[centre] != sign[k]
    return changed


def _best_signs(
    signs: dict[Centre, float], present: Mapping[Centre, float], skeleton: Skeleton
) -> dict[Centre, float]:
    """Signs of the centres of one residue, with names exchanged as long as more of them are those of the model."""

    def misfit(signs: Mapping[Centre, float]) -> int:
        return sum(signs[centre] != present[centre] for centre in signs)

    while best := misfit(signs):
        wrong = [centre for centre in signs if signs[centre] != present[centre]]
        others = [centre[0] for centre in signs]
        exchanges = (names for centre in wrong for names in _exchanges(centre[0], others, skeleton))
        tried = (_exchanged(signs, names, skeleton) for names in exchanges)
        found = min(tried, key=misfit, default=signs)
        if misfit(found) >= best:
            break
        signs = found
    return signs


def _exchanges(centre: str, others: Iterable[str], skeleton: Skeleton) -> Iterator[dict[str, str]]:
    """Names to be exchanged with those of two neighbours of a centre that are alike, or of another centre like it."""
    pairs = itertools.combinations(skeleton.neighbours(centre), 2)
    found = itertools.chain(
        (skeleton.exchange(centre, one, two) for one, two in pairs),
        (skeleton.turn(centre, other) for other in others if other != centre),
    )
    yield from (names for names in found if names is not None)


def _exchanged(signs: Mapping[Centre, float], names: Mapping[str, str], skeleton: Skeleton) -> dict[Centre, float]:
    """What the signs become for the atoms that have the names now."""
    own = {centre[0]: centre for centre in signs}
    found = dict(signs)
    for centre, sign in signs.items():
        target = own.get(names[centre[0]])
        if target is None:
            continue
        there = [names[name] for name in _all_around(centre, skeleton)]
        order = _all_around(target, skeleton)
        found[target] = sign * _parity([order.index(name) for name in there])
    return found


def _all_around(centre: Centre, skeleton: Skeleton) -> list[str]:
    """The three neighbours of a centre in their order, and the fourth, if it is no hydrogen."""
    return [*centre[1:], *(name for name in skeleton.neighbours(centre[0]) if name not in centre)]


def _parity(order: Sequence[int]) -> int:
    """1 for an even permutation, -1 for an odd one."""
    return -1 if sum(a > b for a, b in itertools.combinations(order, 2)) % 2 else 1
