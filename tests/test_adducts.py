"""Tests of arrayrefine.topology.adducts."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from joined import joined
from synthetic import atoms_from

from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import load_monomers
from arrayrefine.restraints import Angles, Bonds, Planes, Restraints
from arrayrefine.topology.adducts import with_adducts
from arrayrefine.topology.build import build_restraints

AWAY = {"flat": 90.0, "tetrahedral": 109.5}
"""Degrees between the link and the other three bonds."""
LENGTH = {"C": 1.43, "B": 1.47}
KIND = {"C": "1 carbonyl carbon with", "B": "1 boron atom with"}


def _acetate_on_serine(angle: float, element: str) -> tuple[Restraints, np.ndarray]:
    """OG of a serine beside an acetate that has all its atoms, or boron in its place: restraints, names of atoms."""
    structure, _ = joined(("SER", "OG", "HG"), ("ACT", "C", "OXT"), 1.45)
    acetate = structure[0]["B"][0]
    acetate.add_atom(acetate["O"][0].clone())
    acetate[len(acetate) - 1].name = "OXT"
    centre, tilt = acetate["C"][0].pos, np.radians(180.0 - angle)
    for turn, (name, length) in enumerate((("O", 1.4), ("OXT", 1.4), ("CH3", 1.52))):
        around = np.radians(120.0 * turn)
        way = np.array([np.cos(around) * np.sin(tilt), np.sin(around) * np.sin(tilt), np.cos(tilt)])
        acetate[name][0].pos = centre + gemmi.Position(*(length * way).tolist())
    acetate["C"][0].element = gemmi.Element(element)
    model = read_model(structure)
    library = load_monomers(["SER", "ACT"])
    for site in library.monlib.monomers["ACT"].atoms:
        site.el = gemmi.Element(element) if site.id == "C" else site.el
    return build_restraints(model.structure, model.atoms, model.crystal, library), model.atoms.identity.atom_name


@pytest.mark.parametrize("element", ["C", "B"])
@pytest.mark.parametrize("shape", ["flat", "tetrahedral"])
def test_an_atom_with_a_fourth_bond_is_restrained_as_the_model_has_it(shape: str, element: str) -> None:
    """In 1tqh plane and angles of an ester moved its carbon by 0.2 Å from the density."""
    found, names = _acetate_on_serine(AWAY[shape], element)
    adduct = shape == "tetrahedral"
    about = {
        "-".join(names[row]): float(ideal)
        for row, ideal in zip(found.angles.index, found.angles.ideal) if names[row[1]] == "C" and "CH3" in names[row]
    }  # fmt: skip
    lengths = {"-".join(names[row]): float(ideal) for row, ideal in zip(found.bonds.index, found.bonds.ideal)}
    own = [key for key in about if "OG" not in key]
    assert len(own) == 2
    assert all((about[key] == 109.5) == adduct for key in own)
    assert ("CH3-C-OG" in about or "OG-C-CH3" in about) == adduct
    (length,) = [value for key, value in lengths.items() if set(key.split("-")) == {"C", "OXT"}]
    assert (length == LENGTH[element]) == adduct
    flat = [names[found.planes.index[found.planes.plane == k]] for k in np.unique(found.planes.plane)]
    assert any({"CH3", "OXT"} <= set(plane.tolist()) for plane in flat) != adduct
    assert bool([note for note in found.notes if note.startswith(KIND[element])]) == adduct
    assert bool([note for note in found.notes if "all its bonds" in note]) != adduct


def test_the_narrow_angle_of_a_small_ring_stays() -> None:
    """As at the carbonyl of a lactam, where 109.5° would open a ring of four."""
    none = np.zeros(0, dtype=np.int64)
    atoms = atoms_from(np.eye(4, 3), ["C", "N", "C", "O"], np.full(4, 20.0), np.ones(4))
    angles = Angles(np.array([[1, 0, 2], [1, 0, 3], [0, 1, 2]]), np.array([91.5, 131.0, 131.0]), np.full(3, 1.5))
    bonds = Bonds(np.array([[0, 1], [0, 2]]), np.array([1.34, 1.5]), np.full(2, 0.02))
    bonds, angles, _ = with_adducts(bonds, angles, Planes(none, none, np.zeros(0)), {0}, atoms)
    assert angles.ideal.tolist() == [91.5, 109.5, 131.0]
    assert angles.sigma.tolist() == [3.0, 3.0, 1.5]
    assert bonds.ideal.tolist() == [1.47, 1.52]
