"""Chains, or other groups, moved as rigid bodies before anything else, lowest resolution first.

Six numbers per group: a rotation vector about the group's centre (its direction is the axis, its length the angle) and
a translation. The gradient by the translation is the sum of the forces on the atoms, that by the rotation vector the
torque, taken through the left Jacobian of the rotation group.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.errors import InputError
from arrayrefine.kernels import symmetric
from arrayrefine.kernels.rotations import left_jacobian, rotations, superposing
from arrayrefine.minimize import minimise
from arrayrefine.options import Options
from arrayrefine.parameters import Parameters
from arrayrefine.problem import Problem
from arrayrefine.report import Step
from arrayrefine.selection import select
from arrayrefine.state import State, evaluate, work_nll
from arrayrefine.targets.xray import XrayTarget
from arrayrefine.wording import Caution, counted

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

ZONES = (8.0, 5.0, 3.5)
"""Å; each minimisation uses the reflections up to one of these, lowest resolution first."""
_TRIAL_ZONE = 5.0
"""Å; where the trial looks whether anything is to be gained."""
_PER_PARAMETER = 20
"""Work reflections per parameter, at least, in a zone: where there are fewer, it reaches to higher resolution."""
_WORTH = 0.25
"""Å; where the trial would move no group by as much (root mean square), the cycles do it themselves. Models with random
errors of 0.2 Å come to 0.05 to 0.11."""
_SMALLEST = 50
"""Atoms, hydrogens and waters aside, from which a chain is a group of its own; smaller ones go with their neighbour."""
_LEAST_GAIN = 10.0
"""-log p; a zone that gains less has nothing left to move."""
_FARTHEST = 15.0
"""Å; groups that end further away were not led there by gradients, but ran away on data that they do not fit."""


@dataclass(frozen=True)
class RigidBodies:
    """Groups that move as one; the vector is [rotation (rad), translation (Å)] of each in turn.

    Attributes
    ----------
    reference : Atoms
        Where all groups are at zero.
    groups : tuple of (N,) bool
        No atom is in two of them.
    labels : tuple of str
    """

    reference: Atoms
    groups: tuple[Mask, ...]
    labels: tuple[str, ...]

    @property
    def size(self) -> int:
        """Length of the vector."""
        return 6 * len(self.groups)

    @cached_property
    def fingerprint(self) -> str:
        """Identifies what is free."""
        digest = sha256(b"rigid bodies")
        for mask in self.groups:
            digest.update(np.packbits(mask).tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def centres(self) -> Float:
        """Mean position of each group (G, 3), Å."""
        return np.array([self.reference.xyz[mask].mean(axis=0) for mask in self.groups])

    def unpack(self, x: Float) -> Atoms:
        """Atoms with every group moved by its six numbers of the vector (6 G,)."""
        xyz, u_aniso, tls = self.reference.xyz.copy(), self.reference.u_aniso.copy(), self.reference.tls
        for mask, centre, (omega, shift) in zip(self.groups, self.centres, x.reshape(-1, 2, 3)):
            rotation = rotations(omega[None])[0]
            xyz[mask] = (xyz[mask] - centre) @ rotation.T + centre + shift
            turned = np.flatnonzero(mask & self.reference.u_aniso.any(axis=1))
            u_aniso[turned] = symmetric.six(rotation @ symmetric.matrices(u_aniso[turned]) @ rotation.T)
            inside = [bool(mask[tls.group == k].all()) for k in range(len(tls))]
            tls = tls.moved(np.array(inside, dtype=bool), rotation, centre, shift)
        return self.reference.replace(xyz=xyz, u_aniso=u_aniso, tls=tls)

    def pullback(self, x: Float, gradient: Gradient) -> Float:
        """Gradient by the vector (6 G,) at `x`, from the gradient by the atoms there."""
        out = np.zeros((len(self.groups), 2, 3))
        for k, (mask, centre, (omega, _)) in enumerate(zip(self.groups, self.centres, x.reshape(-1, 2, 3))):
            force = gradient.xyz[mask]
            arm = (self.reference.xyz[mask] - centre) @ rotations(omega[None])[0].T
            torque = np.cross(arm, force).sum(axis=0) + self._torque_on_u(mask, omega, gradient)
            out[k, 0] = left_jacobian(omega[None])[0].T @ torque
            out[k, 1] = force.sum(axis=0)
        return out.reshape(-1)

    def _torque_on_u(self, mask: Mask, omega: Float, gradient: Gradient) -> Float:
        """What turning the anisotropic displacements of a group adds to its torque (3,)."""
        turned = np.flatnonzero(mask & self.reference.u_aniso.any(axis=1))
        if gradient.u_aniso is None or not len(turned):
            return np.zeros(3)
        rotation = rotations(omega[None])[0]
        u = rotation @ symmetric.matrices(self.reference.u_aniso[turned]) @ rotation.T
        by_u = symmetric.by_matrix(gradient.u_aniso[turned])
        # U turned by a small δ becomes U + [δ]U − U[δ].
        k = (u @ by_u - by_u @ u).sum(axis=0)
        return np.array([k[1, 2] - k[2, 1], k[2, 0] - k[0, 2], k[0, 1] - k[1, 0]])

    def lengths(self, curvature: Gradient) -> Float:
        """Length (6 G,) of one unit of a round variable along each number, from the curvature of each atom."""
        out = np.zeros((len(self.groups), 2, 3))
        for k, (mask, centre) in enumerate(zip(self.groups, self.centres)):
            h = curvature.xyz[mask, 0]
            arm = self.reference.xyz[mask] - centre
            by_axis = (h[:, None] * ((arm**2).sum(axis=1)[:, None] - arm**2)).sum(axis=0)
            total = max(float(h.sum()), np.finfo(float).tiny)
            out[k, 0], out[k, 1] = np.maximum(by_axis, total), total
        return np.asarray(1.0 / np.sqrt(out.reshape(-1)))

    def shifts(self, x: Float) -> Float:
        """Root mean square displacement (G,) of each group's atoms at `x`, Å."""
        moved = self.unpack(x).xyz - self.reference.xyz
        return np.array([np.sqrt((moved[mask] ** 2).sum(axis=1).mean()) for mask in self.groups])


def find_groups(atoms: Atoms, selections: tuple[str, ...]) -> RigidBodies:
    """Groups by selection or, without any, one per chain.

    Chains of fewer than 50 atoms, and waters, go with the group that is nearest, residue by residue. Atoms on special
    positions stay there, and so do those that no selection names.

    Raises
    ------
    InputError
        A selection names no atom, or one that an earlier selection has.
    """
    movable = atoms.multiplicity == 1
    if selections:
        masks = []
        taken = np.zeros(len(atoms), dtype=bool)
        for text in selections:
            mask = select(atoms, text, "--rigid-groups")
            riding = atoms.riding
            mask[riding.child] = mask[riding.parent]
            mask &= movable
            if not mask.any():
                raise InputError(f"--rigid-groups: '{text}' selects no atom that can move; expected some")
            if (mask & taken).any():
                first = atoms.identity.label(int(np.flatnonzero(mask & taken)[0]))
                raise InputError(f"--rigid-groups: '{text}' selects {first}, which an earlier group has already")
            taken |= mask
            masks.append(mask)
        return RigidBodies(atoms, tuple(masks), selections)
    body = movable & ~select(atoms, "water")
    names = [
        str(name) for name in dict.fromkeys(atoms.identity.chain)
        if (body & ~atoms.is_hydrogen & (atoms.identity.chain == name)).sum() >= _SMALLEST
    ]  # fmt: skip
    if len(names) < 2:
        return RigidBodies(atoms, (movable,), ("the model",)) if movable.any() else RigidBodies(atoms, (), ())
    member = np.full(len(atoms), -1)
    for k, name in enumerate(names):
        member[body & (atoms.identity.chain == name)] = k
    left = movable & (member < 0)
    if left.any():
        residue = np.unique(atoms.identity.residue[left], return_inverse=True)[1].reshape(-1)
        centre = np.array([np.bincount(residue, axis) for axis in atoms.xyz[left].T]).T / np.bincount(residue)[:, None]
        nearest = KDTree(atoms.xyz[member >= 0]).query(centre)[1]
        member[left] = member[member >= 0][nearest][residue]
    return RigidBodies(atoms, tuple(member == k for k in range(len(names))), tuple(f"chain {n}" for n in names))


def held_groups(atoms: Atoms, options: Options) -> list[str]:
    """Names of the groups that do not move, as coordinates of some of their atoms are frozen."""
    bodies = find_groups(atoms, options.rigid_groups)
    moving = _not_frozen(bodies, options.freeze).labels
    return [label for label in bodies.labels if label not in moving]


def left_alone(problem: Problem, atoms: Atoms) -> list[str]:
    """What to say of groups that were asked for where `move_groups` took no step: the trial saw nothing to gain."""
    options = problem.options
    if not options.rigid_groups or options.rigid_body != "auto" or not _moving(problem, atoms).groups:
        return []
    return [Caution(
        f"--rigid-groups has no effect: a trial at low resolution would move no group by {_WORTH:g} Å: the cycles "
        "do it (--rigid-body yes moves groups all the same)"
    )]


def _moving(problem: Problem, atoms: Atoms) -> RigidBodies:
    """The groups that the options let move."""
    options = problem.options
    if options.rigid_body == "no" or (options.rigid_body == "auto" and "xyz" not in options.kinds):
        return RigidBodies(atoms, (), ())
    return _not_frozen(find_groups(atoms, options.rigid_groups), options.freeze)


def _not_frozen(bodies: RigidBodies, frozen: tuple[str, ...]) -> RigidBodies:
    """The groups of which no atom's coordinates are frozen."""
    held = Parameters.frozen_atoms(bodies.reference, "xyz", frozen)
    kept = [k for k, mask in enumerate(bodies.groups) if not (mask & held).any()]
    return RigidBodies(bodies.reference, tuple(bodies.groups[k] for k in kept), tuple(bodies.labels[k] for k in kept))


@dataclass(frozen=True)
class _Scaled:
    """x = lengths · p, without bounds."""

    lengths: Float

    @property
    def x0(self) -> Float:
        """Where p = 0 lies."""
        return np.zeros(len(self.lengths))

    def to_x(self, p: Float) -> Float:
        """The six numbers of all groups."""
        return self.lengths * p

    def pullback(self, x: Float, gradient: Float, p: Float) -> Float:
        """Gradient by p."""
        return self.lengths * gradient

    def bounds(self) -> tuple[Float, Float]:
        """None."""
        limit = np.full(len(self.lengths), np.inf)
        return -limit, limit


@dataclass(frozen=True)
class _Objective:
    """-log p of the reflections of a zone as a function of where the groups are."""

    parameters: RigidBodies
    xray: XrayTarget

    def at(self, x: Float) -> tuple[float, Float]:
        """Value and gradient."""
        value, gradient = self.xray(self.parameters.unpack(x))
        return value, self.parameters.pullback(x, gradient)


def _zone(problem: Problem, state: State, d_min: float, needed: int) -> XrayTarget:
    """The X-ray target with the reflections up to `d_min` only, of which at least `needed` are in the work set."""
    data = state.xray.reflections
    by_resolution = np.sort(data.s_squared[data.work])
    limit = max(1.0 / d_min**2, float(by_resolution[min(needed, len(by_resolution)) - 1]))
    chosen = data.s_squared <= limit * (1.0 + 1e-9)
    full = state.xray
    plan = problem.plan(state.atoms, data.hkl[chosen])
    return XrayTarget(
        data.select(chosen), plan, full.factor[chosen], full.solvent[chosen], full.d[chosen], full.variance[chosen],
        full.kind, problem.timer, (state.atoms, state.f_calc[chosen]),
        None if full.left_out is None else full.left_out[chosen],
    )  # fmt: skip


def foreseen_shifts(objective: _Objective) -> Float:
    """Displacement (G,) of each group, Å, by one Newton step along the scaled gradient; costs two evaluations."""
    bodies = objective.parameters
    lengths = bodies.lengths(objective.xray.curvature(bodies.reference))
    zero = np.zeros(bodies.size)
    gradient = objective.at(zero)[1]
    along = -(lengths**2) * gradient
    largest = float(bodies.shifts(along).max(initial=0.0))
    if largest == 0.0:
        return np.zeros(len(bodies.groups))
    small = 0.02 / largest
    bent = float((objective.at(small * along)[1] - gradient) @ along) / small
    slope = float(-gradient @ along)
    # Where the target bends the wrong way, the model is far from its minimum.
    step = slope / bent if bent > 0.1 * slope else 10.0
    return bodies.shifts(min(step, 1.0 / largest) * along)


def move_groups(problem: Problem, state: State, stop: Callable[[], bool]) -> tuple[State, Step | None]:
    """The step at the start: move groups where that pays, or where it was asked for.

    Parameters
    ----------
    problem : Problem
        `rigid_body` "auto" first looks at two gradients at low resolution, and goes on if these would move a group
        by more than `_WORTH`.
    state : State
    stop : callable

    Returns
    -------
    state : State
        After the step; as given where nothing moved, or where the data did not become more likely by more than
        one in log p for each number that was free (Akaike, 1974).
    step : Step or None
        None where the trial saw nothing to gain.
    """
    began, options = time.perf_counter(), problem.options
    bodies = _moving(problem, state.atoms)
    if not bodies.groups:
        return state, None
    needed = _PER_PARAMETER * bodies.size
    evaluations = 0
    if options.rigid_body == "auto":
        foreseen = foreseen_shifts(_Objective(bodies, _zone(problem, state, _TRIAL_ZONE, needed)))
        if foreseen.max() < _WORTH:
            return state, None
        evaluations = 2
    now, notes = state, []
    for d_min in ZONES:
        if stop() or (d_min < problem.reflections.d_min and d_min != ZONES[0]):
            break
        here = dataclasses.replace(bodies, reference=now.atoms)
        xray = _zone(problem, now, d_min, needed)
        change = _Scaled(here.lengths(xray.curvature(now.atoms)))
        solution = minimise(_Objective(here, xray), change, options.minimiser, stop)
        evaluations += solution.evaluations
        if solution.start_value - solution.value < _LEAST_GAIN:
            continue
        now = evaluate(problem, solution.atoms, before=now)
    was, after = state.statistics, now.statistics
    before, behind = work_nll(state, now)
    moves = [_moved(state.atoms.xyz, now.atoms.xyz, mask) for mask in bodies.groups]
    if (away := max(shift for shift, _ in moves)) > _FARTHEST:
        now = state
        notes.append(f"no rigid group moved: they went {away:.0f} Å, further than data lead a model that fits them")
    elif after.r_work < was.r_work and (before - behind) * state.xray.work.sum() > bodies.size:
        named = zip(bodies.labels, moves)
        far = ", ".join(f"{label} by {shift:.2f} Å rms, turned by {turn:.1f}°" for label, (shift, turn) in named)
        notes.append(f"{counted(len(bodies.groups), 'rigid group')} moved: {far}")
    else:
        now = state
        notes.append("no rigid group moved: the data did not become more likely than chance would make them")
    return now, _record(now, bodies.size, evaluations, began, "; ".join(notes), dict(problem.timer))


def _moved(before: Float, after: Float, mask: Mask) -> tuple[float, float]:
    """How far a group moved between two sets of coordinates (N, 3): root mean square, Å, and angle, degrees."""
    one, two = before[mask], after[mask]
    shift = float(np.sqrt(((two - one) ** 2).sum(axis=1).mean()))
    rotation = superposing(one, two)
    return shift, math.degrees(math.acos(float(np.clip(0.5 * (np.trace(rotation) - 1.0), -1.0, 1.0))))


def _record(state: State, free: int, evaluations: int, began: float, note: str, timings: dict[str, float]) -> Step:
    now = state.statistics
    return Step(
        cycle=0, target="rigid body", free_parameters=free, weights={"geometry": None, "adp": None},
        r_work=now.r_work, r_free=now.r_free, bond_rmsz=now.bond_rmsz, angle_rmsz=now.angle_rmsz,
        evaluations=evaluations, seconds=time.perf_counter() - began, note=note, timings=timings,
        nll_work=state.nll_work, nll_free=state.nll_free,
    )  # fmt: skip
