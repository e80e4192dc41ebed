"""Atoms of one conformer that lie on those of another: how far a first step would take them."""

from __future__ import annotations

import dataclasses

import gemmi
import numpy as np
import pytest
from synthetic import as_data

import arrayrefine as ar
from arrayrefine.atoms import Atoms
from arrayrefine.example import MODEL
from arrayrefine.occupancies.overlapping import with_overlaps
from arrayrefine.options import Options
from arrayrefine.rebuilding.overlaps import Overlaps
from arrayrefine.state import State, evaluate

METHIONINE = 42


def disordered() -> gemmi.Structure:
    """A selenomethionine in two conformers; CE of B is 0.8 Å from SE of A."""
    whole = gemmi.read_structure(str(MODEL))
    source = next(r for r in whole[0]["A"] if r.seqid.num == METHIONINE)
    residue = gemmi.Residue()
    residue.name, residue.seqid, residue.het_flag = "MSE", gemmi.SeqId("1"), "H"
    moved = {"SE": (0.9, 0.2, 0.0), "CE": (0.0, 0.0, 0.0)}
    selenium = next(a for a in source if a.name == "SD").pos
    for atom in source:
        name = {"SD": "SE"}.get(atom.name, atom.name)
        for letter in ("A", "B") if name in moved else ("",):
            new = gemmi.Atom()
            new.name, new.element = name, gemmi.Element("Se") if name == "SE" else atom.element
            new.pos, new.b_iso = atom.pos, 15.0
            new.altloc, new.occ = (letter, 0.5) if letter else ("\0", 1.0)
            if letter == "B":
                new.pos = selenium + gemmi.Position(0.5, 0.5, 0.4) if name == "CE" else atom.pos + gemmi.Position(
                    *moved[name]
                )
            residue.add_atom(new)
    centre = residue[0].pos
    for atom in residue:
        atom.pos = atom.pos - centre + gemmi.Position(10.0, 10.0, 10.0)
    structure = gemmi.Structure()
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(24.0, 25.0, 26.0, 90.0, 90.0, 90.0), "P 1"
    structure.add_model(gemmi.Model(1))
    chain = gemmi.Chain("A")
    chain.add_residue(residue)
    structure[0].add_chain(chain)
    structure.setup_entities()
    structure.setup_cell_images()
    return structure


@pytest.fixture(scope="module")
def state() -> State:
    """The selenium of A displaced by 0.3 Å from where the data have it."""
    structure = disordered()
    options = Options(hydrogens="strip", anisotropic="none", tls=("none",))
    _, problem, atoms, _ = ar.prepare(structure, as_data(structure), options)
    xyz = atoms.xyz.copy()
    xyz[row(atoms, "SE", "A")] += [0.2, 0.2, 0.1]
    return evaluate(problem, atoms.replace(xyz=xyz), absorb_b=False)


def row(atoms: Atoms, name: str, altloc: str) -> int:
    who = atoms.identity
    return int(np.flatnonzero((who.atom_name == name) & (who.altloc == altloc))[0])


def test_a_light_atom_is_not_thrown_out_by_a_heavy_one(state: State) -> None:
    atoms, xray = state.atoms, state.xray
    gradient = xray(atoms)[1].xyz
    plain = xray.curvature(atoms)
    bounded = with_overlaps(plain, xray, atoms)
    carbon, selenium = row(atoms, "CE", "B"), row(atoms, "SE", "A")
    step = {
        (atom, way): float(np.linalg.norm(gradient[atom] / h.xyz[atom]))
        for way, h in (("plain", plain), ("bounded", bounded))
        for atom in (carbon, selenium)
    }
    # It is the selenium that is out of place.
    assert step[carbon, "plain"] > 3.0 * step[selenium, "plain"]
    assert step[carbon, "bounded"] < 2.0 * step[selenium, "bounded"]
    assert step[carbon, "bounded"] < 0.25 * step[carbon, "plain"]
    assert (bounded.xyz >= plain.xyz).all()
    assert (bounded.b_iso >= plain.b_iso).all()
    alone = [row(atoms, name, "") for name in ("N", "CA", "C", "O")]
    assert (bounded.xyz[alone] == plain.xyz[alone]).all()
    assert (bounded.occupancy == plain.occupancy).all()


def test_what_is_added(state: State) -> None:
    """The share of the overlap times what the geometric mean is beyond its own, for each pair, both ways."""
    atoms, xray = state.atoms, state.xray
    plain = xray.curvature(atoms)
    bounded, overlaps = with_overlaps(plain, xray, atoms), Overlaps(xray, atoms)
    rows = np.flatnonzero(atoms.identity.altloc != "")
    expected = plain.xyz.copy()
    for i in rows:
        for j in rows:
            distance = np.linalg.norm(atoms.xyz[i] - atoms.xyz[j])
            if atoms.identity.altloc[i] != atoms.identity.altloc[j] and distance < 2.0:
                b_sum = np.array([atoms.b_iso[i] + atoms.b_iso[j]])
                share = max(float((overlaps(np.array([distance]), b_sum) / overlaps(np.zeros(1), b_sum))[0]), 0.0)
                expected[i] += share * np.maximum(np.sqrt(plain.xyz[i] * plain.xyz[j]) - plain.xyz[i], 0.0)
    assert bounded.xyz == pytest.approx(expected, rel=1e-9)


def test_like_atoms_and_far_ones_count_once(state: State) -> None:
    """A selenium on another one, and carbons out of the way: nothing is added; on the carbon, only to this."""
    atoms, xray = state.atoms, state.xray
    selenium, carbon = (row(atoms, name, "A") for name in ("SE", "CE"))
    xyz = atoms.xyz.copy()
    xyz[row(atoms, "SE", "B")] = xyz[selenium]
    xyz[carbon] += 8.0
    xyz[row(atoms, "CE", "B")] -= 8.0
    moved = atoms.replace(xyz=xyz)
    plain = xray.curvature(moved)
    assert with_overlaps(plain, xray, moved).xyz == pytest.approx(plain.xyz, rel=1e-9)
    xyz[carbon] = xyz[selenium]
    moved = atoms.replace(xyz=xyz)
    plain = xray.curvature(moved)
    bounded = with_overlaps(plain, xray, moved)
    assert bounded.xyz[selenium] == pytest.approx(plain.xyz[selenium], rel=1e-9)
    assert bounded.xyz[carbon] == pytest.approx(np.sqrt(plain.xyz[carbon] * plain.xyz[selenium]), rel=1e-6)
    assert bounded.b_iso[carbon] == pytest.approx(np.sqrt(plain.b_iso[carbon] * plain.b_iso[selenium]), rel=1e-6)


def test_a_model_without_conformers_is_left_as_it_is(state: State) -> None:
    atoms = state.atoms
    plain = state.xray.curvature(atoms)
    one = dataclasses.replace(atoms, identity=dataclasses.replace(atoms.identity, altloc=np.full(len(atoms), "A")))
    none = dataclasses.replace(atoms, identity=dataclasses.replace(atoms.identity, altloc=np.full(len(atoms), "")))
    assert with_overlaps(plain, state.xray, one) is plain
    assert with_overlaps(plain, state.xray, none) is plain
