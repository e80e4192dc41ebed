"""Restraints as index / ideal / sigma arrays."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from arrayrefine.kernels.geometry import chirality

Float = NDArray[np.float64]
Int = NDArray[np.int64]
_Rows = TypeVar("_Rows", "Bonds", "Angles", "Torsions", "Chiralities")


def taken(rows: _Rows, keep: NDArray[np.bool_]) -> _Rows:
    """Those restraints (n,) of one kind that a mask (n,) names."""
    return type(rows)(*(getattr(rows, name.name)[keep] for name in dataclasses.fields(rows)))


@dataclass(frozen=True)
class Bonds:
    """index (n, 2); ideal, sigma (n,) in Å. Both atoms lie in the model as given."""

    index: Int
    ideal: Float
    sigma: Float

    def without_pairs(self, pairs: Int) -> Bonds:
        """These but for some pairs (m, 2) of atoms, in either order."""
        gone = {frozenset(pair) for pair in pairs.tolist()}
        keep = np.array([frozenset(pair) not in gone for pair in self.index.tolist()], dtype=bool)
        return taken(self, keep)


@dataclass(frozen=True)
class Angles:
    """index (n, 3), vertex in the middle; ideal, sigma (n,) in degrees."""

    index: Int
    ideal: Float
    sigma: Float


@dataclass(frozen=True)
class Torsions:
    """index (n, 4); ideal, sigma (n,) in degrees; period (n,) int >= 1."""

    index: Int
    ideal: Float
    sigma: Float
    period: Int

    def and_also(self, more: Torsions) -> Torsions:
        """These torsions and others behind them."""
        parts = zip(*((t.index, t.ideal, t.sigma, t.period) for t in (self, more)))
        index, ideal, sigma, period = (np.concatenate(both) for both in parts)
        return Torsions(index, ideal, sigma, period)


@dataclass(frozen=True)
class TorsionClass:
    """Torsion restraints that do not come from the dictionary as they are; `weight` multiplies ½ z²."""

    kind: str
    torsions: Torsions
    weight: float = 1.0

    @property
    def effective(self) -> Torsions:
        """The same with the weight in the sigmas."""
        t = self.torsions
        return Torsions(t.index, t.ideal, t.sigma / np.sqrt(self.weight), t.period)


@dataclass(frozen=True)
class Chiralities:
    """index (n, 4), centre first; ideal signed volume and sigma (n,) in Å³."""

    index: Int
    ideal: Float
    sigma: Float

    def volumes(self, xyz: Float) -> Float:
        """Signed volumes (n,), Å³, for coordinates (N, 3)."""
        ones = np.ones(len(self.index))
        return np.asarray(chirality(xyz, self.index, 0.0 * ones, ones)[0])

    def is_wrong(self, xyz: Float) -> NDArray[np.bool_]:
        """Whether each centre (n,) is of the other hand than is restrained."""
        return np.asarray(self.volumes(xyz) * self.ideal < 0.0)

    def of_wrong_hand(self, xyz: Float) -> Int:
        """Centres that are of the other hand than is restrained."""
        return np.asarray(self.index[self.is_wrong(xyz), 0])


@dataclass(frozen=True)
class Planes:
    """Atoms of all planes end to end: index (m,), plane (m,) number 0..n-1 (sorted), sigma (m,) in Å."""

    index: Int
    plane: Int
    sigma: Float


@dataclass(frozen=True)
class Distances:
    """Robust restraints on distances, or on differences of two distances: what else is known, beside the dictionary.

    Attributes
    ----------
    kind : str
        Name of the class in log and report.
    index : (n, 2) or (n, 4) int
        Atoms of the distance, or of the two distances whose difference is restrained.
    ideal, sigma : (n,) float64, Å
    alpha : float
        Shape of the loss, see `kernels.distances`; 2 is ½ z², and what is below 0 lets go of outliers.
    weight : float
        Beside that of the whole geometry term.
    slack : float or (n,) float64, Å
        By so much a distance may differ from its ideal without being restrained.
    """

    kind: str
    index: Int
    ideal: Float
    sigma: Float
    alpha: float = 2.0
    weight: float = 1.0
    slack: Float | float = 0.0

    def __len__(self) -> int:
        return len(self.index)

    def select(self, chosen: Int) -> Distances:
        """Some of them, by number."""
        slack = self.slack[chosen] if isinstance(self.slack, np.ndarray) else self.slack
        return dataclasses.replace(
            self, index=self.index[chosen], ideal=self.ideal[chosen], sigma=self.sigma[chosen], slack=slack
        )


@dataclass(frozen=True)
class JellyBody:
    """Distances of up to `reach` Å are to stay as they are at the start of a step; sigma in Å."""

    reach: float
    sigma: float
    weight: float = 1.0


@dataclass(frozen=True)
class NonBonded:
    """What the contact term needs to know about each atom and about the pairs that it must leave out.

    Attributes
    ----------
    radius : (N,) float64
        Van der Waals radius, Å (with implicit hydrogens where the model has none).
    ion_radius : (N,) float64
        Ionic radius, Å, nan where the library has none.
    radius_one_four : (N,) float64
        Radius to use towards an atom three bonds away, Å: without implicit hydrogens, softened.
    donor, acceptor, hydrogen : (N,) bool
        Hydrogen-bond donors and acceptors among heavier atoms (both for OH), and polar hydrogens.
    metal : (N,) bool
    excluded : (p, 2) int, i < j
        Pairs left out within the model as given: 1-2, 1-3, rigid 1-4, links, metal-ligand.
    excluded_images : (s, 2) int, i <= j
        Pairs left out when one of them is a symmetry mate: links and metal coordination across symmetry.
    one_four : (q, 2) int, i < j
        Pairs at 1-4 about bonds that can turn, softened.
    conformer : (N,) int
        0 for atoms in every conformer, else a number per altloc letter: two different non-zero numbers
        never meet.
    """

    radius: Float
    ion_radius: Float
    radius_one_four: Float
    donor: NDArray[np.bool_]
    acceptor: NDArray[np.bool_]
    hydrogen: NDArray[np.bool_]
    metal: NDArray[np.bool_]
    excluded: Int
    excluded_images: Int
    one_four: Int
    conformer: Int


@dataclass(frozen=True)
class Mates:
    """Symmetry mates that restraints name: of N atoms, mate g has the number N + g and lies at R x + t of its source.

    Attributes
    ----------
    source : (G,) int
    rotation : (G, 3, 3) float64
    shift : (G, 3) float64, Å
        Both Cartesian. With R = 0 it is a place that stays where it is.
    """

    source: Int
    rotation: Float
    shift: Float


@dataclass(frozen=True)
class Across:
    """Restraints of links to symmetry mates.

    Attributes
    ----------
    mates : Mates
    bonds, angles, torsions, planes
        As in `Restraints`; `index` may name mates.
    shares : tuple of (n,) float64
        Of each bond, angle, torsion and atom of a plane, how much belongs to one asymmetric unit: ½ where a twofold
        axis maps the link onto itself.
    distances : tuple of Distances
        From other sources than the dictionary.
    """

    mates: Mates
    bonds: Bonds
    angles: Angles
    torsions: Torsions
    planes: Planes
    shares: tuple[Float, Float, Float, Float]
    distances: tuple[Distances, ...] = ()

    @classmethod
    def none(cls) -> Across:
        """No link crosses the symmetry."""
        empty, one = np.zeros(0), np.zeros(0, dtype=np.int64)
        index = [np.zeros((0, k), dtype=np.int64) for k in range(5)]
        return cls(
            Mates(one, np.zeros((0, 3, 3)), np.zeros((0, 3))), Bonds(index[2], empty, empty),
            Angles(index[3], empty, empty), Torsions(index[4], empty, empty, one), Planes(one, one, empty),
            (empty, empty, empty, empty),
        )  # fmt: skip

    def __len__(self) -> int:
        """Number of mates."""
        return len(self.mates.source)

    @property
    def effective(self) -> tuple[Bonds, Angles, Torsions, Planes]:
        """The restraints with the shares in their sigmas."""
        b, a, t, p = self.bonds, self.angles, self.torsions, self.planes
        true = b.sigma, a.sigma, t.sigma, p.sigma
        sigmas = [sigma / np.sqrt(share) for sigma, share in zip(true, self.shares)]
        return (
            Bonds(b.index, b.ideal, sigmas[0]), Angles(a.index, a.ideal, sigmas[1]),
            Torsions(t.index, t.ideal, sigmas[2], t.period), Planes(p.index, p.plane, sigmas[3]),
        )  # fmt: skip

    def without(self, mask: NDArray[np.bool_]) -> Across:
        """The restraints that involve none of the atoms in `mask` (N,), nor their mates."""
        both = np.concatenate([mask, mask[self.mates.source]])
        b, a, t, p = self.bonds, self.angles, self.torsions, self.planes
        kb, ka, kt = (np.asarray(~both[x.index].any(axis=1)) for x in (b, a, t))
        planes, kp = _planes_without(p, both)
        keep = kb, ka, kt, kp
        return Across(
            self.mates, taken(b, kb), taken(a, ka), taken(t, kt), planes,
            tuple(share[k] for share, k in zip(self.shares, keep)),
            tuple(kept for d in self.distances if len(kept := d.select(np.flatnonzero(~both[d.index].any(axis=1))))),
        )  # fmt: skip

    def with_distances(self, mates: Mates, *classes: Distances) -> Across:
        """These restraints, and distances to further mates, numbered behind those that are there already."""
        here = self.mates
        both = Mates(
            np.concatenate([here.source, mates.source]),
            np.concatenate([here.rotation, mates.rotation]),
            np.concatenate([here.shift, mates.shift]),
        )
        return dataclasses.replace(self, mates=both, distances=(*self.distances, *classes))


def _planes_without(planes: Planes, mask: NDArray[np.bool_]) -> tuple[Planes, Int]:
    """The planes without the atoms in `mask`, where more than three are left; and the rows (k,) that were kept."""
    rows = np.flatnonzero(~mask[planes.index])
    plane = planes.plane[rows]
    large = np.bincount(plane, minlength=1)[plane] > 3 if len(plane) else np.zeros(0, dtype=bool)
    number = np.unique(plane[large], return_inverse=True)[1].astype(np.int64)
    rows = rows[large]
    return Planes(planes.index[rows], number, planes.sigma[rows]), rows


@dataclass(frozen=True)
class Restraints:
    """All that is known about the geometry of a model.

    Attributes
    ----------
    bonds, angles, torsions, chiralities, planes, non_bonded
        Of the dictionary, and what this says of contacts.
    held : (N,) bool
        Atoms of components without restraints that the user asked to hold in place.
    distances : tuple of Distances
        Classes of restraints from other sources than the dictionary.
    conformation : tuple of TorsionClass
        Further torsion restraints: Ramachandran, rotamer.
    across : Across
        Those of links to symmetry mates.
    jelly_body : JellyBody or None
        Whether, and how, present distances shape the path.
    at_nuclei : bool
        Whether hydrogens are held, and sit, where their nuclei are, and not at the centres of their electrons.
    notes : tuple of str
        Everything left out, assumed or unusual; copied to the log and the report.
    """

    bonds: Bonds
    angles: Angles
    torsions: Torsions
    chiralities: Chiralities
    planes: Planes
    non_bonded: NonBonded
    held: NDArray[np.bool_]
    notes: tuple[str, ...] = field(default=())
    distances: tuple[Distances, ...] = ()
    jelly_body: JellyBody | None = None
    conformation: tuple[TorsionClass, ...] = ()
    across: Across = field(default_factory=Across.none)
    at_nuclei: bool = False

    @classmethod
    def none(cls, n: int) -> Restraints:
        """Nothing is known about `n` atoms."""
        empty, no = np.zeros(0), np.zeros(n, dtype=bool)
        index = [np.zeros((0, k), dtype=np.int64) for k in range(5)]
        one = np.zeros(0, dtype=np.int64)
        return cls(
            Bonds(index[2], empty, empty), Angles(index[3], empty, empty), Torsions(index[4], empty, empty, one),
            Chiralities(index[4], empty, empty), Planes(one, one, empty),
            NonBonded(
                np.zeros(n), np.full(n, np.nan), np.zeros(n), no, no, no, no, index[2], index[2], index[2],
                np.zeros(n, dtype=np.int64),
            ),
            no,
        )  # fmt: skip

    @property
    def every_torsion(self) -> Torsions:
        """Torsions of the dictionary, and all further ones behind them."""
        every = self.torsions
        for more in self.conformation:
            every = every.and_also(more.effective)
        return every

    def without(self, mask: NDArray[np.bool_]) -> Restraints:
        """The restraints that involve none of the atoms in `mask` (N,); contacts are kept."""

        def clear(rows: _Rows) -> _Rows:
            return taken(rows, np.asarray(~mask[rows.index].any(axis=1)))

        return dataclasses.replace(
            self,
            bonds=clear(self.bonds),
            angles=clear(self.angles),
            torsions=clear(self.torsions),
            chiralities=clear(self.chiralities),
            planes=_planes_without(self.planes, mask)[0],
            across=self.across.without(mask),
        )
