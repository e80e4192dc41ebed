"""Restraints on B factors and anisotropic displacements as a target."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from time import perf_counter
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, Gradient, coexist
from arrayrefine.crystal import Crystal
from arrayrefine.displacements.displacement import EIGHT_PI_SQUARED, has_u, total_u
from arrayrefine.kernels import adp, adp_aniso, symmetric
from arrayrefine.kernels.contacts import neighbour_pairs
from arrayrefine.kernels.neighbours import Neighbours
from arrayrefine.kernels.processes import size
from arrayrefine.options import Geometry
from arrayrefine.restraints import Restraints

Float = NDArray[np.float64]
Int = NDArray[np.int64]

SIGMAS = {"bond": 0.1, "angle": 0.15, "torsion": 0.3, "other": 0.7}
"""Sigma of the difference of two B relative to their geometric mean, by relation (Servalcat)."""

LISTED, MOVED, TURNED = 0, 1, 2
"""How an atom's nearest image is made: not at all, by a translation, by a rotation."""

CLOSE = 0.1
"""Å; atoms nearer to each other than this count as this far apart."""


@dataclass(frozen=True)
class Shapes:
    """Restraints on what is anisotropic about U.

    Attributes
    ----------
    i, j : (p,) int64
        Pairs of neighbours that both have a U of their own.
    weight : (p,) float64
        Of the difference of their U, as in `kl`.
    alike, rigid : float
        What it is multiplied by for the difference of their shapes, besides what `kl` says of it, and for that of
        their displacements along the line between them.
    round : (N,) float64
        1/σ² of the relative deviation of U from a sphere; zero for atoms without a U of their own.
    """

    i: Int
    j: Int
    weight: Float
    alike: float
    rigid: float
    round: Float

    @classmethod
    def build(cls, i: Int, j: Int, weight: Float, atoms: Atoms, options: Geometry) -> Shapes:
        """Prepare the restraints of anisotropic atoms, from the pairs and weights of `kl`."""
        own = atoms.anisotropic
        both = own[i] & own[j]
        alike, rigid, sphere = (
            ratio**-2 if ratio > 0.0 else 0.0
            for ratio in (options.shape_ratio, options.rigid_ratio, options.sphericity_sigma)
        )
        return cls(i[both], j[both], weight[both], max(alike - 1.0, 0.0), rigid, np.where(own, sphere, 0.0))

    def on(self, some: NDArray[np.bool_]) -> Shapes:
        """Only the restraints that act on some of the atoms (N,)."""
        keep = some[self.i] | some[self.j]
        return replace(
            self, i=self.i[keep], j=self.j[keep], weight=self.weight[keep], round=np.where(some, self.round, 0.0)
        )

    def among(self, atoms: Int, number: Int) -> Shapes:
        """The same for some atoms (m,), which those of all pairs and those kept round are among; `number` (N,) says
        which they are there."""
        return replace(self, i=number[self.i], j=number[self.j], round=self.round[atoms])

    @cached_property
    def _alike(self) -> Neighbours:
        return Neighbours(self.i, self.j, self.alike * self.weight, len(self.round))

    @cached_property
    def _rigid(self) -> Neighbours:
        return Neighbours(self.i, self.j, self.rigid * self.weight, len(self.round))

    def __call__(self, u: Float, xyz: Float) -> tuple[float, Float, Float]:
        """Value, and gradient by U (N, 6) and by coordinates (N, 3), which say along which lines pairs are rigid."""
        value, by_u = adp_aniso.sphericity(u, self.round)
        by_xyz = np.zeros_like(xyz)
        if self.alike > 0.0:
            more, slope = adp_aniso.shape_among(u, self._alike)
            value, by_u = value + more, by_u + slope
        if self.rigid > 0.0:
            more, slope, by_xyz = adp_aniso.rigid_among(u, xyz, self._rigid, CLOSE)
            value, by_u = value + more, by_u + slope
        return value, by_u, by_xyz


class _Tensors(NamedTuple):
    """Restraints where some atoms are not isotropic.

    Attributes
    ----------
    some : (N,) bool
        Those that are not.
    atoms : (m,) int64
        Those that take part; the pairs and shapes count among these.
    pairs : Neighbours
        Pairs of which one at least is not isotropic.
    shapes : Shapes or None
    i, j, weight : (p,)
        The other pairs, of all atoms.
    """

    some: NDArray[np.bool_]
    atoms: Int
    pairs: Neighbours
    shapes: Shapes | None
    i: Int
    j: Int
    weight: Float

    @classmethod
    def of(cls, target: AdpTarget, some: NDArray[np.bool_]) -> _Tensors:
        i, j, weight, shapes = target.i, target.j, target.weight, target.shapes
        odd = some[i] | some[j]
        part = np.zeros(len(some), dtype=bool)
        part[i[odd]] = part[j[odd]] = True
        if shapes is not None:
            part[shapes.i] = part[shapes.j] = True
            part |= shapes.round > 0.0
        atoms = np.flatnonzero(part)
        number = np.cumsum(part) - 1
        pairs = Neighbours(number[i[odd]], number[j[odd]], weight[odd], len(atoms))
        among = None if shapes is None else shapes.among(atoms, number)
        return cls(some, atoms, pairs, among, i[~odd], j[~odd], weight[~odd])


@dataclass(frozen=True)
class AdpTarget:
    """Similarity of the displacements of neighbours; zero gradient by occupancy.

    Kind "kl": ½ Σ w (B₁ − B₂)² / (B₁ B₂) over pairs within a distance, symmetry mates included, w = 1/σ² of
    the kind of pair, divided by (d / 2 Å)² beyond 2 Å as Servalcat does. Kind "variance": Σ (B − mean B)².
    Kind "none": zero. Where atoms are anisotropic, kind "kl" compares tensors, and `Shapes` are added.

    The pairs are those of the atoms given to `build`, and `image` (p,) says whether they are near as they are listed
    (`LISTED`), by a translation (`MOVED`), which has no shapes compared, as the line between them is another, or by a
    rotation (`TURNED`), which is compared only where both atoms are isotropic. `curvatures` is for `adp_curvature`.
    """

    kind: Literal["kl", "variance", "none"]
    i: Int
    j: Int
    weight: Float
    timer: dict[str, float] = field(default_factory=dict, compare=False)
    shapes: Shapes | None = None
    image: NDArray[np.int8] | None = None
    curvatures: list[Any] = field(default_factory=list, compare=False, repr=False)
    _kept: list[_Tensors] = field(default_factory=list, init=False, compare=False, repr=False)

    @classmethod
    def build(
        cls,
        restraints: Restraints,
        crystal: Crystal,
        atoms: Atoms,
        kind: Literal["kl", "variance", "none"] = "kl",
        options: Geometry | None = None,
        timer: dict[str, float] | None = None,
        skip: NDArray[np.bool_] | None = None,
    ) -> AdpTarget:
        """Prepare the target.

        Parameters
        ----------
        restraints : Restraints
        crystal : Crystal
        atoms : Atoms
        kind : {"kl", "variance", "none"}
        options : Geometry, optional
            `adp_distance` is used.
        timer : dict, optional
            Seconds are added to its entry "adp".
        skip : (N,) bool, optional
            Atoms without a B of their own.
        """
        options = Geometry() if options is None else options
        timer = {} if timer is None else timer
        own = np.arange(len(atoms)) if skip is None else np.flatnonzero(~skip)
        if kind != "kl" or len(own) < 2:
            return cls(kind, np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), timer)
        conformer = restraints.non_bonded.conformer[own]
        i, j, distance, image = _nearest_pairs(conformer, crystal, atoms.xyz[own], options.adp_distance)
        i, j = own[i], own[j]
        # The tensor of a mate would have to be turned before it can be compared.
        tensor = atoms.anisotropic | (atoms.tls.group >= 0) | atoms.u_aniso.any(axis=1)
        keep = ~((image == TURNED) & (tensor[i] | tensor[j]))
        i, j, distance, image = i[keep], j[keep], distance[keep], image[keep]
        sigma = _sigmas(restraints, i, j, len(atoms))
        weight = 1.0 / (sigma**2 * np.maximum(1.0, (0.5 * distance) ** 2))
        found = cls(kind, i, j, weight, timer, None, image)
        return found.with_tensors(atoms, options) if atoms.anisotropic.any() else found

    def with_tensors(self, atoms: Atoms, options: Geometry) -> AdpTarget:
        """The same pairs where more atoms have a tensor of their own, but for those that cannot be compared then."""
        own = atoms.anisotropic
        image = np.zeros(len(self.i), dtype=np.int8) if self.image is None else self.image
        fewer = self._pairs(~((image == TURNED) & (own[self.i] | own[self.j])))
        listed = image == LISTED
        shapes = Shapes.build(self.i[listed], self.j[listed], self.weight[listed], atoms, options)
        return replace(fewer, shapes=shapes)

    def _pairs(self, keep: NDArray[np.bool_]) -> AdpTarget:
        image = None if self.image is None else self.image[keep]
        weight = self.weight[keep]
        return replace(self, i=self.i[keep], j=self.j[keep], weight=weight, image=image, curvatures=[])

    def release(self) -> None:
        """Let go of the curvature that is kept; not in a team, whose members all have it or none."""
        if size() == 1:
            self.curvatures.clear()

    def on(self, some: NDArray[np.bool_]) -> AdpTarget:
        """Only the restraints that act on some of the atoms (N,)."""
        if self.kind != "kl" or some.all():
            return self
        keep = some[self.i] | some[self.j]
        shapes = None if self.shapes is None else self.shapes.on(some)
        return replace(self._pairs(keep), shapes=shapes)

    def __call__(self, atoms: Atoms) -> tuple[float, Gradient]:
        """Value (dimensionless for "kl", Å⁴ for "variance") and gradient."""
        start = perf_counter()
        n = len(atoms)
        total = Gradient.zeros(n)
        if self.kind == "kl" and len(has_u(atoms)):
            value, total = self._tensors(atoms)
        elif self.kind == "kl":
            value, gradient = adp.kl(atoms.b_iso, self.i, self.j, self.weight)
            total = Gradient(total.xyz, gradient, total.occupancy)
        elif self.kind == "variance":
            value, gradient = adp.variance(atoms.b_iso)
            total = Gradient(total.xyz, gradient, total.occupancy)
        else:
            value = 0.0
        self.timer["adp"] = self.timer.get("adp", 0.0) + perf_counter() - start
        return value, total

    def _tensors(self, atoms: Atoms) -> tuple[float, Gradient]:
        """Value and gradient where there are anisotropic atoms; pairs of two isotropic ones stay the simple kind."""
        some = np.asarray(atoms.u_aniso.any(axis=1))
        if not self._kept or not np.array_equal(self._kept[0].some, some):
            self._kept[:] = [_Tensors.of(self, some)]
        how = self._kept[0]
        here, u = how.atoms, total_u(atoms, how.atoms)
        value, slope = adp_aniso.kl_among(u, how.pairs)
        by_xyz, by_u = np.zeros_like(atoms.xyz), np.zeros_like(atoms.u_aniso)
        if how.shapes is not None:
            more, steeper, by_xyz[here] = how.shapes(u, atoms.xyz[here])
            value, slope = value + more, slope + steeper
        by_u[here] = slope
        plain, by_b = adp.kl(atoms.b_iso, how.i, how.j, how.weight)
        by_b = by_b + symmetric.trace(by_u) / EIGHT_PI_SQUARED
        return value + plain, Gradient(by_xyz, by_b, np.zeros(len(atoms)), by_u)


def _nearest_pairs(
    conformer: Int, crystal: Crystal, xyz: Float, cutoff: float
) -> tuple[Int, Int, Float, NDArray[np.int8]]:
    """Pairs i < j within the cut-off, each once, with the shortest distance between any of their images, and which."""
    pairs = neighbour_pairs(xyz, crystal.rotations, crystal.translations, crystal.orth, crystal.frac, cutoff)
    pairs = pairs.taken((pairs.i != pairs.j) & coexist(conformer[pairs.i], conformer[pairs.j]))
    distance = pairs.lengths(xyz, crystal.rotations, crystal.orth, crystal.frac)
    order = np.lexsort((distance, pairs.j, pairs.i))
    i, j = pairs.i[order], pairs.j[order]
    nearest = order[np.r_[True, (np.diff(i) != 0) | (np.diff(j) != 0)][: len(i)]]
    pairs = pairs.taken(nearest)
    turned = (crystal.rotations[pairs.op] != np.eye(3)).any(axis=(1, 2))
    moved_only = (np.abs(pairs.shift) > 1e-9).any(axis=1)
    image = np.where(turned, TURNED, np.where(moved_only, MOVED, LISTED)).astype(np.int8)
    return pairs.i, pairs.j, distance[nearest], image


def _sigmas(restraints: Restraints, i: Int, j: Int, n: int) -> Float:
    """Sigma of each pair by its closest relation: bonded, in an angle, in a torsion, other."""
    wanted = i * n + j
    sigma = np.full(len(i), SIGMAS["other"])
    for kind, index in (
        ("torsion", restraints.torsions.index),
        ("angle", restraints.angles.index),
        ("bond", restraints.bonds.index),
    ):
        width = index.shape[1]
        for a in range(width):
            for b in range(a + 1, width):
                low, high = np.minimum(index[:, a], index[:, b]), np.maximum(index[:, a], index[:, b])
                sigma[np.isin(wanted, low * n + high)] = SIGMAS[kind]
    return sigma
