"""Ends of Asn, Gln and His, and carboxamides of ligands, turned by half between cycles, where what they meet, and the
data, say that O is N.

Of 120 ends in eight crystals (1 to 2.3 Å) all were turned before a refinement: 49 were then found to be wrong, most
others meet hardly anything that tells. In 34 crystals as deposited, of 611 ends that Reduce keeps 2 turn, of 83 that it
turns 38.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.problem import Problem
from arrayrefine.rebuilding.better_places import displaced, held, moves
from arrayrefine.rebuilding.carboxamides import carboxamides_of
from arrayrefine.rebuilding.nqh_ends import (
    ENDS,
    WORTH_TURNING,
    End,
    end_of,
    ends_of,
    gained_by_contacts,
    near_each_other,
)
from arrayrefine.rebuilding.probes import Probes
from arrayrefine.rebuilding.rotamers import Turned, label
from arrayrefine.state import State, evaluate
from arrayrefine.topology.polymers import residues_of

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_LEFT = 0.35
"""Of the curvature of log p by what changes, what is left once B have followed. In eight refined crystals the gradient
came to 0.29 to 0.50 of the curvature where ends were wrong, and to 0.00 to 0.15 where they were right."""
_PASSES = 3


class _Evidence(Probes):
    """What the data say of ends that turn; atoms whose displacements are `refined` (N,) leave these at their places."""

    def __init__(self, state: State, refined: NDArray[np.bool_]) -> None:
        super().__init__(state)
        self._refined = refined
        self._shells = state.xray.expected_curvature(state.f_calc)
        self._factors, self._element = self._sf.form_factors(self._shells[0])

    def gained(self, ends: Sequence[End]) -> Float:
        """By how much (E,) log p rises for what each end changes of the density, as B will have followed.

        All atoms of an end leave their places and come to others.
        """
        if not ends:
            return np.zeros(0)
        atoms = self._atoms
        source = np.concatenate([end.rows for end in ends])
        turned = _with_displacements(atoms, ends, self._refined)
        put = turned.taken(source).replace(xyz=np.concatenate([end.there for end in ends]))
        field = self._field(self._sf.like(source), put).occupancy
        ends_at = np.cumsum([len(end.rows) for end in ends])[:-1]
        slope = np.split((field - self._here[source]) * atoms.occupancy[source], ends_at)
        second = [self.second(end, turned) for end in ends]
        return np.array([-float(one.sum()) - 0.5 * _LEFT * two for one, two in zip(slope, second)])

    def second(self, end: End, turned: Atoms) -> float:
        """Second derivative of -log p by all that changes, as expected where phases are random (see `overlaps`).

        With the true form factors: the difference between two elements falls off far more slowly than either.
        """
        atoms, (s_squared, weight) = self._atoms, self._shells
        b = np.append(atoms.b_iso[end.rows], turned.b_iso[end.rows])
        f = np.tile(self._factors[self._element[end.rows]], (2, 1)) * np.exp(-0.25 * b[:, None] * s_squared)
        f *= np.append(-atoms.occupancy[end.rows], atoms.occupancy[end.rows])[:, None]
        places = np.concatenate([end.here, end.there])
        distance = np.linalg.norm(places[:, None] - places, axis=-1)
        wave = np.sinc(2.0 * np.sqrt(s_squared) * distance[..., None])
        return float(np.einsum("s,is,js,ijs->", weight, f, f, wave, optimize=True))


def with_flipped_ends(
    problem: Problem, state: State, stay: Collection[str] = ()
) -> tuple[State, tuple[Turned, ...]]:
    """Turn ends of Asn, Gln, His and carboxamides whose hydrogen bonds, contacts and density ask for it.

    Parameters
    ----------
    problem : Problem
    state : State
    stay : collection of str
        Residues that do not turn, such as "A/ASN 12".

    Returns
    -------
    state : State
        The same object where nothing turns.
    turned : tuple of Turned
        In the order of the model, each with what spoke for it.
    """
    options = problem.options
    if options.nqh_flips == "keep" or options.reference is not None or not moves(problem, state):
        return state, ()
    crystal, refined = problem.reflections.crystal, displaced(problem, state.atoms)
    amides = carboxamides_of(state.atoms, problem.restraints.bonds.index)
    ends = ends_of(state.atoms, residues_of(state.atoms), crystal, held(problem, state.atoms), amides)
    ends = [end for end in ends if label(end.residue) not in stay]
    if not ends:
        return state, ()
    by_data = dict(zip([end.key for end in ends], _Evidence(state, refined).gained(ends).tolist()))
    atoms = state.atoms
    turned: dict[int, Turned] = {}
    for _ in range(_PASSES):
        ends = [end for end in (end_of(end.residue, atoms, end.names) for end in ends) if end is not None]
        ends = [end for end in ends if end.key not in turned]
        gain = gained_by_contacts(atoms, problem.restraints.non_bonded, crystal, ends)
        gain += [by_data[end.key] for end in ends]
        chosen = _independent(atoms, crystal, ends, gain)
        if not chosen:
            break
        atoms = _flipped(problem, atoms, [ends[k] for k in chosen], refined)
        turned |= {ends[k].key: Turned(label(ends[k].residue), float(gain[k])) for k in chosen}
    if not turned:
        return state, ()
    return evaluate(problem, atoms, absorb_b=False, before=state), tuple(one for _, one in sorted(turned.items()))


def whose(turned: Sequence[tuple[str, float]]) -> str:
    """Of what kinds ends are that turned, to be said; each a residue and a gain."""
    names = {residue.partition("/")[2].split()[0] for residue, _ in turned}
    return "Asn, Gln or His" if names <= set(ENDS) else "Asn, Gln, His or a carboxamide"


def _independent(atoms: Atoms, crystal: Crystal, ends: Sequence[End], gain: Float) -> list[int]:
    """Those that are worth it and do not come near to one that gains more."""
    worth = [k for k in np.argsort(-gain, kind="stable").tolist() if gain[k] > WORTH_TURNING]
    near = near_each_other(atoms, crystal, [ends[k] for k in worth])
    chosen: list[int] = []
    for number in range(len(worth)):
        if not any((number, other) in near for other in chosen):
            chosen.append(number)
    return [worth[number] for number in chosen]


def _with_displacements(atoms: Atoms, ends: Sequence[End], refined: NDArray[np.bool_]) -> Atoms:
    """The atoms with displacements of partners exchanged, as they are those of places: of the `refined` (N,) alone."""
    b_iso, u_aniso = atoms.b_iso.copy(), atoms.u_aniso.copy()
    for end in ends:
        rows, partner = end.heavy_rows, end.partner[: end.heavy]
        both = refined[rows] & refined[partner]
        b_iso[rows[both]] = atoms.b_iso[partner[both]]
        both &= atoms.anisotropic[rows] == atoms.anisotropic[partner]
        u_aniso[rows[both]] = atoms.u_aniso[partner[both]]
    return atoms.replace(b_iso=b_iso, u_aniso=u_aniso)


def _flipped(problem: Problem, atoms: Atoms, ends: Sequence[End], refined: NDArray[np.bool_]) -> Atoms:
    """The atoms with ends turned, partners in each other's place."""
    xyz = atoms.xyz.copy()
    for end in ends:
        xyz[end.rows] = end.there
    return problem.hydrogens.place(_with_displacements(atoms, ends, refined).replace(xyz=xyz))
