"""Restraints of links to symmetry mates, read from gemmi's topology."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import dataclass, field

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import SAME_PLACE, Crystal
from arrayrefine.restraints import Across, Angles, Bonds, Int, Mates, Planes, Torsions
from arrayrefine.topology.terms import LINK_TORSIONS, TopologyModel, folded, mixed
from arrayrefine.wording import are, counted, listed

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

_NUMBERS = {"bond": 2, "angle": 2, "torsion": 3, "plane": 2}
"""Numbers of each kind of restraint: ideal, sigma, period."""
_CELLS = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=3)))


@dataclass(frozen=True)
class _Image:
    """A symmetry operator, Cartesian; its name; and whether it exchanges what it joins."""

    rotation: Float
    shift: Float
    name: str
    twofold: bool


@dataclass
class _Found:
    """What has been read so far: rows of atoms, and the numbers beside them."""

    n_atoms: int
    mates: dict[tuple[int, str], int] = field(default_factory=dict)
    images: list[tuple[int, _Image]] = field(default_factory=list)
    rows: dict[str, list[tuple[tuple[int, ...], tuple[float, ...], float]]] = field(
        default_factory=lambda: {kind: [] for kind in _NUMBERS}
    )

    def mate(self, atom: int, image: _Image) -> int:
        """Number of the mate of an atom."""
        key = atom, image.name
        if key not in self.mates:
            self.mates[key] = self.n_atoms + len(self.images)
            self.images.append((atom, image))
        return self.mates[key]

    def table(self, kind: str, width: int) -> tuple[Int, Float, Float]:
        """Atoms (n, width), numbers (n, k), ideal and sigma first, and shares (n,) of one kind."""
        rows = self.rows[kind]
        index = np.array([atoms for atoms, _, _ in rows], dtype=np.int64).reshape(-1, width)
        numbers = np.array([values for _, values, _ in rows], dtype=float).reshape(len(rows), _NUMBERS[kind])
        return index, numbers, np.array([share for *_, share in rows], dtype=float)


def read_across(
    model: TopologyModel, known_links: Collection[str], held: Mask, atoms: Atoms, crystal: Crystal, notes: list[str]
) -> Across:
    """Bonds, angles, torsions and planes of links to symmetry mates.

    The second residue of the link is taken at the image of its bonded atom that is nearest to that of the first. As
    within the model, bonds from a metal that no library link describes are not restrained, nor is what is held or joins
    different conformers; chirality across a link is not restrained either.

    Parameters
    ----------
    model : TopologyModel
    known_links : collection of str
        Names of the links of the library.
    held : (N,) bool
        Atoms whose restraints are left out.
    atoms : Atoms
    crystal : Crystal
    notes : list of str
        What was found is added.
    """
    found = _Found(len(atoms))
    made, loose = [], []
    topology = model.topology
    for link in topology.extras:
        if link.asu != gemmi.Asu.Different:
            continue
        bonded = [rule.index for rule in link.link_rules if rule.rkind == gemmi.RKind.Bond]
        if not bonded:
            continue
        one, two = (model.row[atom.serial] for atom in topology.bonds[bonded[0]].atoms)
        image = _nearest(crystal, atoms.xyz[one], atoms.xyz[two], own=one == two)
        label = f"{atoms.identity.label(one)} - {atoms.identity.label(two)} ({image.name})"
        metal = any(atom.element.is_metal for atom in topology.bonds[bonded[0]].atoms)
        known = link.link_id in known_links
        if metal and not known:
            loose.append(label)
            continue
        # Of a link between two atoms the twofold makes another, of a link between mates the same from the other side.
        share = 0.5 if one == two and image.twofold else 1.0
        before = sum(len(rows) for rows in found.rows.values())
        for rule in link.link_rules:
            _add(found, model, rule, image, held, share)
        if sum(len(rows) for rows in found.rows.values()) > before:
            made.append(label)
    if made:
        n = len(made)
        notes.append(f"{counted(n, 'link')} to symmetry mates {are(n)} restrained: {listed(made, '; ')}")
    if loose:
        notes.append(
            f"{counted(len(loose), 'link')} to symmetry mates, of metals, without a dictionary length "
            f"{are(len(loose))} kept out of contacts: "
            f"{listed(loose, '; ')}"
        )
    return _assembled(found)


def _add(
    found: _Found, model: TopologyModel, rule: gemmi.Topo.Rule, image: _Image, held: Mask, share: float
) -> None:
    """Add one restraint of a link, if it can be used."""
    topology, kinds = model.topology, gemmi.RKind
    values: list[float]
    if rule.rkind == kinds.Plane:
        plane = topology.planes[rule.index]
        values = [0.0, plane.restr.esd]
        atoms, sides, name = list(plane.atoms), _sides(plane), "plane"
    elif rule.rkind == kinds.Bond:
        bond = topology.bonds[rule.index]
        atoms, sides, name = list(bond.atoms), [bond.restr.id1.comp, bond.restr.id2.comp], "bond"
        values = [bond.restr.value, bond.restr.esd]
    elif rule.rkind == kinds.Angle:
        angle = topology.angles[rule.index]
        r = angle.restr
        atoms, sides, name = list(angle.atoms), [r.id1.comp, r.id2.comp, r.id3.comp], "angle"
        values = [float(folded(np.array(r.value))), r.esd]
    elif rule.rkind == kinds.Torsion and topology.torsions[rule.index].restr.label in LINK_TORSIONS:
        torsion = topology.torsions[rule.index]
        t = torsion.restr
        atoms, sides, name = list(torsion.atoms), [t.id1.comp, t.id2.comp, t.id3.comp, t.id4.comp], "torsion"
        values = [t.value, t.esd, float(max(t.period, 1))]
    else:
        return
    rows = np.array([model.row[atom.serial] for atom in atoms], dtype=np.int64)
    ideal, sigma, *_ = values
    if not (sigma > 0.0 and np.isfinite(ideal)) or held[rows].all() or mixed(model.altloc, rows[None])[0]:
        return
    numbers = tuple(int(row) if side == 1 else found.mate(int(row), image) for row, side in zip(rows, sides))
    if len(set(numbers)) == len(numbers):
        found.rows[name].append((numbers, tuple(values), share))


def _sides(plane: gemmi.Topo.Plane) -> list[int]:
    """On which side of the link each atom of a plane is: as the dictionary has them, without what the model lacks."""
    named = iter(plane.restr.ids)
    return [next(identity.comp for identity in named if identity.atom == atom.name) for atom in plane.atoms]


def _assembled(found: _Found) -> Across:
    bond, angle, torsion = (found.table(kind, width) for kind, width in (("bond", 2), ("angle", 3), ("torsion", 4)))
    planes = found.rows["plane"]
    size = np.array([len(atoms) for atoms, _, _ in planes], dtype=np.int64)
    members = np.array([atom for atoms, _, _ in planes for atom in atoms], dtype=np.int64)
    sigma = np.repeat(np.array([values[1] for _, values, _ in planes], dtype=float), size)
    share = np.repeat(np.array([part for *_, part in planes], dtype=float), size)
    mates = Mates(
        np.array([atom for atom, _ in found.images], dtype=np.int64),
        np.array([image.rotation for _, image in found.images]).reshape(-1, 3, 3),
        np.array([image.shift for _, image in found.images]).reshape(-1, 3),
    )
    return Across(
        mates,
        Bonds(bond[0], bond[1][:, 0], bond[1][:, 1]),
        Angles(angle[0], angle[1][:, 0], angle[1][:, 1]),
        Torsions(torsion[0], torsion[1][:, 0], torsion[1][:, 1], torsion[1][:, 2].astype(np.int64)),
        Planes(members, np.repeat(np.arange(len(planes), dtype=np.int64), size), sigma),
        (bond[2], angle[2], torsion[2], share),
    )


def _nearest(crystal: Crystal, one: Float, two: Float, own: bool) -> _Image:
    """The operator that takes `two` (3,), Å, nearest to `one`, other than the identity, or than that which leaves an
    atom of its `own` where it is.
    """
    here = crystal.fractional(one[None])[0]
    there = np.einsum("gij,j->gi", crystal.rotations, crystal.fractional(two[None])[0]) + crystal.translations
    cells = np.round(here - there)[:, None, :] + _CELLS
    apart = np.linalg.norm(crystal.cartesian((there[:, None, :] + cells - here).reshape(-1, 3)), axis=1)
    apart = apart.reshape(len(there), -1)
    if own:
        apart[apart < SAME_PLACE] = np.inf
    else:
        apart[0, (cells[0] == 0.0).all(axis=1)] = np.inf
    number, cell = np.unravel_index(int(apart.argmin()), apart.shape)
    shift = crystal.translations[number] + cells[number, cell]
    rotation, translation = crystal.cartesian_operator(int(number), shift)
    turned = crystal.rotations[number].astype(float)
    twice = np.allclose(turned @ turned, np.eye(3)) and np.allclose(turned @ shift + shift, 0.0, atol=1e-6)
    return _Image(rotation, translation, crystal.operator_name(int(number), shift), bool(twice))
