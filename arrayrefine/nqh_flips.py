"""Ends of Asn, Gln and His turned by half between cycles, where what they meet, and the data, say that O is N.

Of 118 ends in eight crystals (1 to 2.3 Å) all were turned before a refinement: 49 were then found to be wrong, most
others meet hardly anything that tells. In 34 crystals as deposited 57 turn: of 611 that Reduce keeps 3 do, of 83 that
it turns 39.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from arrayrefine.atoms import Atoms
from arrayrefine.better_places import held, moves
from arrayrefine.form_factors import form_factors, scattering
from arrayrefine.nqh_ends import WORTH, End, end_of, ends_of, gained_by_contacts
from arrayrefine.polymers import residues_of
from arrayrefine.probes import Probes
from arrayrefine.problem import Problem
from arrayrefine.rotamers import Turned, label
from arrayrefine.state import State, evaluate

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_LEFT = 0.35
"""Of the curvature of log p by what changes, what is left once B have followed. In eight refined crystals the gradient
came to 0.29 to 0.50 of the curvature where ends were wrong, and to 0.00 to 0.15 where they were right."""
_PASSES = 3
_NEAR = 4.0
"""Å; ends that are nearer to each other do not turn at the same time."""


class _Evidence(Probes):
    """What the data say of ends that turn."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._shells = state.xray.expected_curvature(state.f_calc)
        _, self._element, table = form_factors(state.atoms.element, self._sf.radiation)
        self._factors = scattering(table, self._shells[0])

    def gained(self, ends: Sequence[End]) -> Float:
        """By how much (E,) log p rises for what each end changes of the density, as B will have followed.

        All atoms of an end leave their places and come to others, where heavy atoms have the B of their partners.
        """
        if not ends:
            return np.zeros(0)
        atoms = self._atoms
        source = np.concatenate([end.rows for end in ends])
        place = np.concatenate([end.partner for end in ends])  # whose B is that of the place
        put = atoms.taken(source).replace(
            xyz=np.concatenate([end.there for end in ends]), b_iso=atoms.b_iso[place], u_aniso=atoms.u_aniso[place]
        )
        field = self._field(self._sf.like(source), put).occupancy
        ends_at = np.cumsum([len(end.rows) for end in ends])[:-1]
        slope = np.split((field - self._here[source]) * atoms.occupancy[source], ends_at)
        return np.array([-float(one.sum()) - 0.5 * _LEFT * self.second(end) for end, one in zip(ends, slope)])

    def second(self, end: End) -> float:
        """Second derivative of -log p by all that changes, as expected where phases are random (see `overlaps`).

        With the true form factors: the difference between two elements falls off far more slowly than either.
        """
        atoms, (s_squared, weight) = self._atoms, self._shells
        b = np.append(atoms.b_iso[end.rows], atoms.b_iso[end.partner])
        f = np.tile(self._factors[self._element[end.rows]], (2, 1)) * np.exp(-0.25 * b[:, None] * s_squared)
        f *= np.append(-atoms.occupancy[end.rows], atoms.occupancy[end.rows])[:, None]
        places = np.concatenate([end.here, end.there])
        distance = np.linalg.norm(places[:, None] - places, axis=-1)
        wave = np.sinc(2.0 * np.sqrt(s_squared) * distance[..., None])
        return float(np.einsum("s,is,js,ijs->", weight, f, f, wave, optimize=True))


def with_flipped_ends(problem: Problem, state: State) -> tuple[State, tuple[Turned, ...]]:
    """Turn ends of Asn, Gln and His whose hydrogen bonds, contacts and density ask for it.

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
    ends = ends_of(state.atoms, residues_of(state.atoms), held(problem, state.atoms))
    if not ends:
        return state, ()
    by_data = dict(zip([end.residue.number for end in ends], _Evidence(state).gained(ends).tolist()))
    atoms = state.atoms
    turned: dict[int, Turned] = {}
    for _ in range(_PASSES):
        ends = [end for end in (end_of(end.residue, atoms) for end in ends) if end is not None]
        ends = [end for end in ends if end.residue.number not in turned]
        gain = gained_by_contacts(atoms, problem.restraints.non_bonded, problem.reflections.crystal, ends)
        gain += [by_data[end.residue.number] for end in ends]
        chosen = _independent(ends, gain)
        if not chosen:
            break
        atoms = _flipped(problem, atoms, [ends[k] for k in chosen])
        turned |= {ends[k].residue.number: Turned(label(ends[k].residue), float(gain[k])) for k in chosen}
    if not turned:
        return state, ()
    return evaluate(problem, atoms, absorb_b=False, before=state), tuple(one for _, one in sorted(turned.items()))


def _independent(ends: Sequence[End], gain: Float) -> list[int]:
    """Those that are worth it and do not come near to one that gains more."""
    chosen: list[int] = []
    taken = np.zeros((0, 3))
    for k in np.argsort(-gain, kind="stable").tolist():
        if not gain[k] > WORTH:
            break
        mine = ends[k].here[: ends[k].heavy]
        if not len(taken) or cdist(mine, taken).min() > _NEAR:
            chosen.append(k)
            taken = np.concatenate([taken, mine])
    return chosen


def _flipped(problem: Problem, atoms: Atoms, ends: Sequence[End]) -> Atoms:
    """The atoms with ends turned: partners in each other's place, with the displacement that belongs there."""
    free = problem.parameters(atoms, "b")
    refined = free.b | free.u
    xyz, b_iso, u_aniso = atoms.xyz.copy(), atoms.b_iso.copy(), atoms.u_aniso.copy()
    for end in ends:
        rows, partner = end.rows[: end.heavy], end.partner[: end.heavy]
        xyz[end.rows] = end.there
        both = refined[rows] & refined[partner]
        b_iso[rows[both]], u_aniso[rows[both]] = atoms.b_iso[partner[both]], atoms.u_aniso[partner[both]]
    return problem.hydrogens.place(atoms.replace(xyz=xyz, b_iso=b_iso, u_aniso=u_aniso))
