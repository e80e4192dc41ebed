"""Restraints on coordinates as a target, with its statistics, outliers and Jacobian."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.crystal import Crystal
from arrayrefine.further_restraints.neighbour_distances import jelly_body
from arrayrefine.kernels import distances as distance_kernel
from arrayrefine.kernels import geometry, mates
from arrayrefine.options import Geometry
from arrayrefine.restraints import Distances, Restraints, TorsionClass, Torsions
from arrayrefine.targets import Target
from arrayrefine.targets.agreement import Outlier, TermResult
from arrayrefine.targets.contacts import Contacts
from arrayrefine.targets.firm_outliers import Limits
from arrayrefine.targets.odd_components import odd_residues

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Kind = Literal["bond", "angle", "torsion", "chirality", "plane", "contact"]
KINDS: tuple[Kind, ...] = ("bond", "angle", "torsion", "chirality", "plane", "contact")
TO_MATES = {kind: f"{kind} to mate" for kind in ("bond", "angle", "torsion", "plane")}
"""Kinds of restraints of links to symmetry mates."""
_FIRM = ("bond", "angle", "chirality", TO_MATES["bond"], TO_MATES["angle"])
"""Kinds of which outliers are restrained more firmly."""


@dataclass(frozen=True)
class _Evaluated:
    """One kind of restraint at some coordinates; `weight` is its share of the asymmetric unit."""

    kind: str
    z: Float
    jacobian: Float
    index: Int
    sigma: Float
    weight: Float | float = 1.0


@dataclass(frozen=True)
class GeometryTarget:
    """½ Σ z² over bonds, angles, torsions, chirality, planes and contacts; zero gradient by B and occupancy.

    Bonds, angles and chiral volumes far from their ideals count more: see `kernels.geometry.with_firm_outliers`. Robust
    restraints on distances from other sources come on top. Make it with `build`. Calling it costs a search for
    neighbours only when atoms have moved far.
    """

    restraints: Restraints
    options: Geometry
    contacts: Contacts | None
    timer: dict[str, float] = field(default_factory=dict, compare=False)
    distances: tuple[Distances, ...] = ()
    conformation: tuple[TorsionClass, ...] = ()
    to_mates: tuple[Distances, ...] = ()
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def build(
        cls,
        restraints: Restraints,
        crystal: Crystal,
        options: Geometry | None = None,
        timer: dict[str, float] | None = None,
    ) -> GeometryTarget:
        """Prepare the target.

        Parameters
        ----------
        restraints : Restraints
        crystal : Crystal
        options : Geometry, optional
        timer : dict, optional
            Seconds are added to its entries "geometry" and "contacts".
        """
        options = Geometry() if options is None else options
        contacts = Contacts.of(restraints, crystal, options.contact_sigma) if options.contacts else None
        timer = {} if timer is None else timer
        r = restraints
        return cls(r, options, contacts, timer, r.distances, r.conformation, r.across.distances)

    @property
    def of_dictionary(self) -> GeometryTarget:
        """Harmonic restraints of the dictionary alone: what weights are measured by."""
        options = dataclasses.replace(self.options, outlier_weight=0.0)
        return dataclasses.replace(self, options=options, distances=(), conformation=(), to_mates=())

    @property
    def external(self) -> tuple[Distances | TorsionClass, ...]:
        """Classes that do not come from the dictionary as they are."""
        return (*self.distances, *self.to_mates, *self.conformation)

    def firm(self, index: Int) -> geometry.Firm:
        """How bonds, angles or chiral volumes of the atoms `index` (n, k) are restrained."""
        return self.limits.firm(self.options, index)

    def firmed(self, atoms: Atoms) -> GeometryTarget:
        """This target for a step that starts at `atoms`: outliers are what is far from its ideal for these."""
        if self.options.outlier_weight == 0.0:
            return self
        return dataclasses.replace(self, limits=Limits.at(atoms, self.restraints, self.core_rmsz(atoms)))

    def excess(self, atoms: Atoms) -> float:
        """What outliers add to the target for being one."""
        found = 0.0
        for term in self._terms(atoms, _FIRM) if self.options.outlier_weight else ():
            r, _ = self._residuals(term)
            found += 0.5 * float(r @ r - term.z @ term.z)
        return found

    def forgetful(self) -> GeometryTarget:
        """A copy whose results depend on the atoms alone, and on nothing that was computed before, to the last bit."""
        contacts = None if self.contacts is None else self.contacts.forgetful()
        return dataclasses.replace(self, contacts=contacts, timer={})

    def anchored(self, atoms: Atoms, share: float = 1.0) -> GeometryTarget:
        """This target for a step that starts at `atoms`: `firmed`, its contacts chosen by the occupancies of these, and
        with their jelly body, where it is wanted.

        Parameters
        ----------
        atoms : Atoms
        share : float
            Factor on the weight of the jelly body, by which it can be kept as it is where that of the geometry changes.
        """
        firmed = self.firmed(atoms)
        if self.contacts is not None:
            firmed = dataclasses.replace(firmed, contacts=self.contacts.at(atoms))
        how = self.restraints.jelly_body
        if how is None:
            return firmed
        clashing = None if self.contacts is None else self.contacts.clashing(atoms)
        here = jelly_body(atoms, self.restraints, dataclasses.replace(how, weight=share * how.weight), clashing)
        return dataclasses.replace(firmed, distances=(*self.restraints.distances, here))

    def __call__(self, atoms: Atoms) -> tuple[float, Gradient]:
        """Value (dimensionless) and gradient."""
        total, gradient = 0.0, Gradient.zeros(len(atoms))
        for part in self.parts():
            value, slope = part(atoms)
            total, gradient = total + value, gradient + slope
        return total, gradient

    def parts(self) -> tuple[Target, ...]:
        """Targets of which this is the sum; the first is that of contacts, which keep their lists of pairs."""
        return self._contact, self._bonded, self._far

    def agree(self) -> None:
        """In a team of processes, give all of them the pairs of contacts that the first has found since."""
        if self.contacts is not None:
            self.contacts.agree()

    def _contact(self, atoms: Atoms) -> tuple[float, Gradient]:
        """Contacts only."""
        return self._sum(atoms, ["contact"])

    def _bonded(self, atoms: Atoms) -> tuple[float, Gradient]:
        """Restraints of the dictionary, and of the conformation."""
        return self._sum(atoms, [kind for kind, _ in self._covalent(atoms)])

    def _sum(self, atoms: Atoms, kinds: Collection[str]) -> tuple[float, Gradient]:
        """Value and gradient of some kinds."""
        total, gradient = 0.0, np.zeros((len(atoms), 3))
        for term in self._terms(atoms, kinds):
            value, part = geometry.accumulate(*self._residuals(term), term.index, len(atoms))
            total += value
            gradient += part
        return total, Gradient(gradient, np.zeros(len(atoms)), np.zeros(len(atoms)))

    def _far(self, atoms: Atoms) -> tuple[float, Gradient]:
        """Value and gradient of the classes of distances."""
        total, gradient = 0.0, np.zeros((len(atoms), 3))
        start = perf_counter()
        for d in self.distances:
            value, part = distance_kernel.evaluate(atoms.xyz, d.index, d.ideal, d.sigma, d.alpha, d.weight, d.slack)
            total += value
            gradient += part
        if self.to_mates:
            extended = self._extended(atoms.xyz)
            for d in self.to_mates:
                value, pull = distance_kernel.evaluate(
                    extended, d.index, d.ideal, d.sigma, d.alpha, d.weight, d.slack
                )
                total += value
                gradient += mates.folded(pull, self.restraints.across.mates)
        if self.distances or self.to_mates:
            self._clock("external", start)
        return total, Gradient(gradient, np.zeros(len(atoms)), np.zeros(len(atoms)))

    def terms(self, atoms: Atoms, kinds: Collection[str] | None = None) -> dict[str, TermResult]:
        """Agreement per kind: "bond", "angle", "torsion", "chirality", "plane", "contact"; and classes of distances.

        Only some `kinds` where these are given.
        """
        hydrogen = atoms.is_hydrogen
        wanted = KINDS if kinds is None else kinds
        found: dict[str, TermResult] = {kind: TermResult(0, None, None, 0.0) for kind in wanted}
        for term in self._terms(atoms, kinds):
            heavy = ~hydrogen[term.index].any(axis=1)
            z = (term.z / np.sqrt(term.weight))[heavy]
            r, _ = self._residuals(term)
            value = 0.5 * float(r @ r)
            if len(z):
                deviation = z * term.sigma[heavy]
                rmsd, rmsz = (float(np.sqrt(np.mean(np.square(v)))) for v in (deviation, z))
                found[term.kind] = TermResult(len(z), rmsd, rmsz, value, float(term.sigma[heavy].mean()))
            else:
                found[term.kind] = TermResult(0, None, None, value)
        for d in (*self.distances, *self.to_mates) if kinds is None else ():
            z, _ = distance_kernel.deviations(self._extended(atoms.xyz), d.index, d.ideal, d.sigma, d.slack)
            rmsd, rmsz = (float(np.sqrt(np.mean(np.square(v)))) for v in (z * d.sigma, z))
            value = d.weight * float(distance_kernel.loss(z, d.alpha)[0].sum())
            found[d.kind] = TermResult(len(d), rmsd, rmsz, value, float(np.mean(d.sigma)))
        return found

    def core_rmsz(
        self, atoms: Atoms, frozen: NDArray[np.bool_] | None = None
    ) -> tuple[float | None, float | None]:
        """Bond and angle RMSZ over atoms that are neither hydrogens nor in a component with a metal; None for none.

        Without those between atoms that are all `frozen` (N,): nothing that is done to a weight changes them. And
        without those at chiral centres of the wrong hand: they are strained by the restraint of the other hand, the
        more the higher the weight.
        """
        residue = atoms.identity.residue
        left_out = atoms.is_hydrogen | np.isin(residue, residue[self.restraints.non_bonded.metal])
        left_out[self.restraints.chiralities.of_wrong_hand(atoms.xyz)] = True
        found: dict[str, float | None] = {"bond": None, "angle": None}
        for term in self._terms(atoms, found):
            some = ~left_out[term.index].any(axis=1)
            if frozen is not None:
                some &= ~frozen[term.index].all(axis=1)
            z = term.z[some]
            found[term.kind] = float(np.sqrt(np.mean(z**2))) if len(z) else None
        return found["bond"], found["angle"]

    def odd_residues(self, atoms: Atoms) -> Int:
        """Running numbers of components that miss their restraints by far more than all else, see `odd_components`."""
        return odd_residues(atoms, [(term.index, term.z) for term in self._terms(atoms, ("bond", "angle"))])

    def outliers(self, atoms: Atoms, z: float = 5.0) -> list[Outlier]:
        """Restraints with \\|z\\| above a limit, the worst first."""
        found = []
        for term in self._terms(atoms):
            score = term.z / np.sqrt(term.weight)
            rows = term.index
            for k in np.flatnonzero(np.abs(score) > z):
                labels = tuple(atoms.identity.label(int(a)) for a in rows[k])
                found.append(
                    Outlier(
                        term.kind,
                        labels,
                        float(score[k] * term.sigma[k]),
                        float(term.sigma[k]),
                        float(score[k]),
                    )
                )
        return sorted(found, key=lambda outlier: -abs(outlier.z))

    def curved(self, atoms: Atoms) -> Iterator[tuple[str, Float, Int]]:
        """Kind, rows (n, k, 3) and index (n, k) of all restraints: the squares of the rows tell the curvature.

        They are the derivatives of residuals, but of outliers by the stiffness from the ideal to where they are, not by
        that at the place, as most are on their way back.
        """
        for term in itertools.chain(self._terms(atoms), self._distance_terms(atoms)):
            if term.kind in _FIRM:
                stiff = geometry.stiffness(term.z / np.sqrt(term.weight), self.firm(term.index))
                yield term.kind, term.jacobian * np.sqrt(stiff)[:, None, None], term.index
            else:
                yield term.kind, term.jacobian, term.index

    def _residuals(self, term: _Evaluated) -> tuple[Float, Float]:
        """Residuals of a term, and their jacobian."""
        if term.kind not in _FIRM:
            return term.z, term.jacobian
        if isinstance(term.weight, float):
            return geometry.with_firm_outliers(term.z, term.jacobian, self.firm(term.index))
        root, firm = np.sqrt(term.weight), self.firm(term.index)  # root of the share that is in z
        r, slope = geometry.with_firm_outliers(term.z / root, term.jacobian / root[:, None, None], firm)
        return r * root, slope * root[:, None, None]

    def _terms(self, atoms: Atoms, kinds: Collection[str] | None = None) -> Iterator[_Evaluated]:
        """Evaluate each kind, or those wanted, in turn, on the clock."""
        start = perf_counter()
        yield from [evaluate() for kind, evaluate in self._covalent(atoms) if kinds is None or kind in kinds]
        self._clock("geometry", start)
        if self.contacts is not None and (kinds is None or "contact" in kinds):
            start = perf_counter()
            z, jacobian, index, weight = self.contacts.evaluate(atoms)
            yield _Evaluated("contact", z, jacobian, index, np.full(len(z), self.options.contact_sigma), weight)
            self._clock("contacts", start)

    def _covalent(self, atoms: Atoms) -> Iterator[tuple[str, Callable[[], _Evaluated]]]:
        """Kinds other than contacts, and what evaluates them."""
        r, xyz = self.restraints, atoms.xyz
        b, a, c, p = r.bonds, r.angles, r.chiralities, r.planes
        yield "bond", lambda: _Evaluated("bond", *geometry.bond(xyz, b.index, b.ideal, b.sigma), b.index, b.sigma)
        yield "angle", lambda: _Evaluated("angle", *geometry.angle(xyz, a.index, a.ideal, a.sigma), a.index, a.sigma)
        yield "chirality", lambda: _Evaluated(
            "chirality", *geometry.chirality(xyz, c.index, c.ideal, c.sigma), c.index, c.sigma
        )
        yield "plane", lambda: _Evaluated(
            "plane", *geometry.plane(xyz, p.index, p.plane, p.sigma), p.index[:, None], p.sigma
        )
        if self.options.torsions:
            yield "torsion", lambda: self._torsion("torsion", xyz, r.torsions, r.torsions.sigma)
        if len(r.across):
            yield from self._across(xyz)
        for more in self.conformation:
            weight = np.full(len(more.effective.index), more.weight)
            yield more.kind, partial(self._torsion, more.kind, xyz, more.effective, more.torsions.sigma, weight)

    def _extended(self, xyz: Float) -> Float:
        """Atoms and, behind them, the mates that restraints name (N + G, 3), Å."""
        return mates.placed(xyz, self.restraints.across.mates)

    def _across(self, xyz: Float) -> Iterator[tuple[str, Callable[[], _Evaluated]]]:
        """Kinds of restraints of links to symmetry mates, and what evaluates them."""
        across = self.restraints.across
        extended = self._extended(xyz)
        b, a, t, p = across.effective
        kinds: list[tuple[str, Callable[[], tuple[Float, Float]], Int, Float]] = [
            ("bond", lambda: geometry.bond(extended, b.index, b.ideal, b.sigma), b.index, across.bonds.sigma),
            ("angle", lambda: geometry.angle(extended, a.index, a.ideal, a.sigma), a.index, across.angles.sigma),
            (
                "plane", lambda: geometry.plane(extended, p.index, p.plane, p.sigma), p.index[:, None],
                across.planes.sigma,
            ),
        ]  # fmt: skip
        shares = dict(zip(("bond", "angle", "torsion", "plane"), across.shares))
        if self.options.torsions:
            kinds.append((
                "torsion", lambda: geometry.torsion(extended, t.index, t.ideal, t.sigma, t.period), t.index,
                across.torsions.sigma,
            ))  # fmt: skip

        def evaluated(kind: str, evaluate: Callable[[], tuple[Float, Float]], index: Int, sigma: Float) -> _Evaluated:
            z, jacobian = evaluate()
            jacobian, atoms = mates.of_sources(jacobian, index, across.mates, len(xyz))
            return _Evaluated(TO_MATES[kind], z, jacobian, atoms, sigma, shares[kind])

        for kind, evaluate, index, sigma in kinds:
            if len(index):
                yield TO_MATES[kind], partial(evaluated, kind, evaluate, index, sigma)

    @staticmethod
    def _torsion(kind: str, xyz: Float, t: Torsions, sigma: Float, weight: Float | float = 1.0) -> _Evaluated:
        return _Evaluated(kind, *geometry.torsion(xyz, t.index, t.ideal, t.sigma, t.period), t.index, sigma, weight)

    def _distance_terms(self, atoms: Atoms) -> Iterator[_Evaluated]:
        """Classes of distances, as residuals."""
        for d in self.distances:
            z, jacobian = distance_kernel.deviations(atoms.xyz, d.index, d.ideal, d.sigma, d.slack)
            yield _Evaluated(d.kind, *distance_kernel.residuals(z, jacobian, d.alpha, d.weight), d.index, d.sigma)
        for d in self.to_mates:
            z, jacobian = distance_kernel.deviations(self._extended(atoms.xyz), d.index, d.ideal, d.sigma, d.slack)
            z, jacobian = distance_kernel.residuals(z, jacobian, d.alpha, d.weight)
            jacobian, index = mates.of_sources(jacobian, d.index, self.restraints.across.mates, len(atoms))
            yield _Evaluated(d.kind, z, jacobian, index, d.sigma)

    def _clock(self, part: str, start: float) -> None:
        self.timer[part] = self.timer.get(part, 0.0) + perf_counter() - start
