"""Chairs of sugars."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gemmi
import numpy as np
import pytest
from drawn import built

from arrayrefine.kernels.geometry import dihedral
from arrayrefine.monomers import load_monomers
from arrayrefine.topology.pyranoses import CHAIR_SIGMA, _away, _conformers, _theta, chairs

RING = ("O5", "C1", "C2", "C3", "C4", "C5")


def component(name: str) -> gemmi.ChemComp:
    return load_monomers([name]).monlib.monomers[name]


@pytest.mark.parametrize(
    ("name", "theta"), [("NAG", 0.0), ("BMA", 0.0), ("GAL", 0.0), ("BOG", 0.0), ("FUC", 180.0), ("SIA", 180.0)]
)
def test_sugars_are_drawn_as_the_chair_that_their_hand_has(name: str, theta: float) -> None:
    """4C1 for D, 1C4 for L; in sialic acid, whose ring begins at C2, that is 2C5."""
    ((ring, xyz),) = chairs(component(name))
    assert ring[0] == ("O6" if name == "SIA" else "O5")
    wanted = theta if ring[1] < ring[5] else 180.0 - theta
    assert _theta(xyz) == pytest.approx(wanted, abs=7.0)


@pytest.mark.parametrize("name", ["MES", "PRO", "A", "ATP", "HEM", "FMN", "TRP"])
def test_what_has_no_pyranose_has_no_chair(name: str) -> None:
    assert chairs(component(name)) == []


def test_a_cyclic_ether_is_no_sugar_and_a_sugar_needs_no_name() -> None:
    sugar = component("BMA")
    sugar.set_group("non-polymer")
    assert len(chairs(sugar)) == 1
    for k in reversed(range(len(sugar.rt.bonds))):
        if "O1" in (sugar.rt.bonds[k].id1.atom, sugar.rt.bonds[k].id2.atom):
            del sugar.rt.bonds[k]
    assert chairs(sugar) == []


def flat(names: tuple[str, ...]) -> dict[str, np.ndarray]:
    angle = np.pi / 3.0 * np.arange(6)
    return dict(zip(names, 1.45 * np.stack([np.cos(angle), np.sin(angle), 0.0 * angle], axis=1)))


def test_a_ring_that_is_drawn_flat_has_no_chair_and_a_flat_one_is_pulled_into_its_chair() -> None:
    sugar = component("BMA")
    ((ring, chair),) = chairs(sugar)
    drawn = flat(ring)
    assert _away(np.array([drawn[name] for name in ring]), chair) == 0.0
    assert _away(chair, chair) == pytest.approx(_theta(chair) if _theta(chair) < 90.0 else 180.0 - _theta(chair))
    for atom in sugar.atoms:
        if atom.id in drawn:
            atom.xyz = gemmi.Position(*drawn[atom.id])
    assert chairs(sugar) == []


def test_torsions_of_the_ring_have_one_ideal() -> None:
    atoms, restraints = built("NAG")
    t, name = restraints.torsions, atoms.identity.atom_name
    of_ring = np.isin(name[t.index], RING).all(axis=1)
    assert of_ring.sum() == 6
    assert np.all(t.period[of_ring] == 1)
    assert np.all(t.sigma[of_ring] == CHAIR_SIGMA)
    found = np.degrees(np.arcsin(np.sin(np.radians(dihedral(atoms.xyz, t.index[of_ring])[0] - t.ideal[of_ring]))))
    assert np.abs(found).max() < 0.1
    assert "1 pyranose ring held in the chair of the dictionary" in restraints.notes


@pytest.mark.parametrize("altloc", ["", "B"])
def test_a_ring_in_another_conformation_is_left_alone_and_named(altloc: str) -> None:
    """C1 on the other side of the mean plane: a boat."""
    chair, _ = built("BMA")

    def turned(xyz: np.ndarray) -> np.ndarray:
        name = chair.identity.atom_name.tolist()
        base = xyz[[name.index(one) for one in ("C2", "C3", "C5", "O5")]]
        normal = np.linalg.svd(base - base.mean(axis=0))[2][2]
        xyz[name.index("C1")] -= 2.0 * ((xyz[name.index("C1")] - base.mean(axis=0)) @ normal) * normal
        return xyz

    atoms, restraints = built("BMA", altloc=altloc, turned=turned)
    assert not np.isin(atoms.identity.atom_name[restraints.torsions.index], RING).all(axis=1).any()
    (note,) = (note for note in restraints.notes if "pyranose" in note)
    assert "A/BMA 1" in note
    assert "another conformation" in note


def test_only_conformers_that_have_the_whole_ring_are_rings() -> None:
    residue, names = gemmi.Residue(), ("O5", "C1", "C2", "C3", "C4", "C5")
    for name in names:
        for letter in "A" if name == "C3" else "AB":
            atom = gemmi.Atom()
            atom.name, atom.altloc, atom.serial = name, letter, len(residue)
            residue.add_atom(atom)
    model: Any = SimpleNamespace(row={k: k for k in range(len(residue))})
    (ring,) = _conformers(residue, names, model)
    assert [residue[k].altloc for k in ring] == ["A"] * 6
