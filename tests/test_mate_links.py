"""Links to symmetry mates: read from the model, restrained as if the mate were there, on NumPy and the device alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import gemmi
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from synthetic import atoms_from, crystal

from arrayrefine import Options, refine
from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.device.restraints import DeviceRestraints
from arrayrefine.example import MODEL
from arrayrefine.further_restraints.choice import with_external
from arrayrefine.io.models.reading import read_model
from arrayrefine.kernels import mates, mates_cuda
from arrayrefine.kernels.backend import to_device, to_host
from arrayrefine.kernels.geometry import stiffness
from arrayrefine.monomers import library_for, load_monomers
from arrayrefine.options import External, Geometry, Weighting
from arrayrefine.restraints import Across, Angles, Bonds, Distances, Mates, Planes, Restraints, Torsions
from arrayrefine.structure_factors import StructureFactors
from arrayrefine.targets.adp import AdpTarget
from arrayrefine.targets.geometry import TO_MATES, GeometryTarget
from arrayrefine.targets.geometry_curvature import jacobian
from arrayrefine.topology.build import build_restraints
from arrayrefine.topology.mate_links import _sides
from arrayrefine.validation.geometry import find_outliers

CYSTEINE = {
    "N": (3.2, 12.9, 0.9), "CA": (2.6, 11.7, 0.4), "C": (3.4, 10.5, 0.9), "O": (4.1, 9.8, 0.2),
    "CB": (1.2, 11.5, 0.9), "SG": (0.9, 9.9, 0.35),
}  # fmt: skip
CELL = 30.0


def _write(path: Path, group: str, mate: bool, links: str) -> Path:
    """A cysteine near the twofold axis along b, and its mate about it where asked."""
    lines = [links, f"CRYST1{CELL:9.3f}{CELL:9.3f}{CELL:9.3f}  90.00  90.00  90.00 {group:11s}"]
    for number in (1, 2) if mate else (1,):
        for name, (x, y, z) in CYSTEINE.items():
            xyz = (x, y, z) if number == 1 else (-x, y, -z)
            position = "".join(f"{v:8.3f}" for v in xyz)
            lines.append(
                f"ATOM  {len(lines):5d}  {name:<3s} CYS A{number:4d}    {position}  1.00 20.00           {name[0]}"
            )
    path.write_text("\n".join([*lines, "END", ""]))
    return path


def _link(one: int, two: int, operator: str) -> str:
    return f"SSBOND   1 CYS A {one:4d}    CYS A {two:4d}                          1555   {operator}  2.03  "


FIRM = Geometry(contacts=False, outlier_z=1.0, outlier_weight=4.0)
"""With restraints of which some are outliers."""


def _target(path: Path) -> tuple[GeometryTarget, Atoms]:
    model = read_model(path)
    library = load_monomers(model.structure[0].get_all_residue_names(), [])
    restraints = build_restraints(model.structure, model.atoms, model.crystal, library)
    return GeometryTarget.build(restraints, model.crystal, FIRM), model.atoms


def test_a_link_about_an_axis_counts_once_for_both_sides(tmp_path: Path) -> None:
    """The energy and the gradient of one asymmetric unit are half of those of the pair, written out in P 1."""
    alone, atoms = _target(_write(tmp_path / "a.pdb", "P 1 2 1", False, _link(1, 1, "2555")))
    both, pair = _target(_write(tmp_path / "b.pdb", "P 1", True, _link(1, 2, "1555")))
    across = alone.restraints.across
    assert [len(x.index) for x in (across.bonds, across.angles, across.torsions)] == [1, 2, 1]
    assert len(across) == 2  # SG and CB
    assert len(both.restraints.across) == 0
    value, gradient = alone(atoms)
    expected, slope = both(pair)
    assert value == pytest.approx(0.5 * expected, rel=1e-12)
    np.testing.assert_allclose(gradient.xyz, slope.xyz[:6], rtol=1e-9, atol=1e-9)
    without = dataclasses.replace(alone, restraints=dataclasses.replace(alone.restraints, across=Across.none()))
    assert without(atoms)[0] < value - 1.0
    assert any("1 link to symmetry mates is restrained: A/CYS 1/SG - A/CYS 1/SG (-x,y,-z)" in note
               for note in alone.restraints.notes)  # fmt: skip


def _of(path: Path, text: str) -> tuple[Restraints, Atoms]:
    """Restraints of a model, metals included."""
    path.write_text(text + "END\n")
    model = read_model(path)
    library = load_monomers(model.structure[0].get_all_residue_names(), [])
    restraints = build_restraints(model.structure, model.atoms, model.crystal, library)
    return with_external(restraints, model.atoms, 1.5, External(), crystal=model.crystal), model.atoms


def test_a_link_of_two_atoms_about_an_axis_counts_in_full(tmp_path: Path) -> None:
    """The axis makes two links of it, N - SG' and SG - N', of which one belongs to the asymmetric unit."""
    lines = _write(tmp_path / "a.pdb", "P 1 2 1", False, "").read_text().splitlines()
    lines = [line.replace("   3.200  12.900   0.900", "  -2.600  10.600  -0.900") for line in lines]
    link = "LINK         N   CYS A   1                 SG  CYS A   1     1555   2555  2.90  "
    found, _ = _of(tmp_path / "b.pdb", "\n".join([link, *[line for line in lines if line.strip() != "END"], ""]))
    across = found.across
    shares = dict(zip(map(tuple, np.sort(across.bonds.index, axis=1).tolist()), across.shares[0].tolist()))
    own = [pair for pair in shares if across.mates.source[pair[1] - 6] == pair[0]]
    assert [shares[pair] for pair in own] == [0.5]  # SG - SG' is found besides
    assert {share for pair, share in shares.items() if pair not in own} == {1.0}


def test_an_unnamed_link_about_a_threefold_axis_is_found_once(tmp_path: Path) -> None:
    lines = [f"CRYST1{CELL:9.3f}{CELL:9.3f}{CELL:9.3f}  90.00  90.00 120.00 P 3        "]
    for k, (name, (x, y, z)) in enumerate(CYSTEINE.items()):
        position = "".join(f"{v:8.3f}" for v in (1.2 * x, z, y))
        lines.append(f"ATOM  {k + 1:5d}  {name:<3s} CYS A   1    {position}  1.00 20.00           {name[0]}")
    found, _ = _of(tmp_path / "a.pdb", "\n".join([*lines, ""]))
    across = found.across
    assert [len(x.index) for x in (across.bonds, across.angles, across.torsions)] == [1, 2, 1]
    assert across.shares[0].tolist() == [1.0]


def test_a_plane_across_knows_the_side_of_atoms_of_one_name() -> None:
    """The two CZ of a link between tyrosines, one of which the model lacks."""
    plane = SimpleNamespace(
        restr=SimpleNamespace(ids=[
            SimpleNamespace(comp=1, atom="CZ"), SimpleNamespace(comp=1, atom="CE1"),
            SimpleNamespace(comp=2, atom="CE1"), SimpleNamespace(comp=2, atom="CZ"),
        ]),
        atoms=[SimpleNamespace(name=name) for name in ("CZ", "CE1", "CE1", "CZ")],
    )  # fmt: skip
    assert _sides(plane) == [1, 1, 2, 2]  # type: ignore[arg-type]
    del plane.atoms[1]
    assert _sides(plane)[-1] == 2  # type: ignore[arg-type]


def _fibre(name: str = "") -> gemmi.Structure:
    """Two residues of the example, renamed where a name is given, with a peptide to the next cell, which begins where
    the third one did."""
    found = [r for r in gemmi.read_structure(str(MODEL))[0]["A"].get_polymer() if 60 <= r.seqid.num <= 62]
    first, third = (np.array(residue["N"][0].pos.tolist()) for residue in (found[0], found[2]))
    period = float(np.linalg.norm(third - first))
    turn, _ = Rotation.align_vectors([[1.0, 0.0, 0.0]], [(third - first) / period])
    structure, chain = gemmi.Structure(), gemmi.Chain("A")
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(period, CELL, CELL, 90, 90, 90), "P 1"
    for residue in found[:2]:
        residue.name = name or residue.name
        for atom in residue:
            atom.pos = gemmi.Position(*(turn.apply(np.array(atom.pos.tolist()) - first) + np.array([0.5, 15.0, 15.0])))
        chain.add_residue(residue)
    structure.add_model(gemmi.Model(1))
    structure[0].add_chain(chain)
    link = gemmi.Connection()
    link.name, link.type, link.asu = "1", gemmi.ConnectionType.Covale, gemmi.Asu.Different
    link.partner1 = gemmi.AtomAddress("A", chain[1].seqid, chain[1].name, "C")
    link.partner2 = gemmi.AtomAddress("A", chain[0].seqid, chain[0].name, "N")
    structure.connections.append(link)
    structure.setup_entities()
    return structure


def test_a_peptide_to_a_mate_is_one_as_within_the_model() -> None:
    model = read_model(_fibre())
    library = load_monomers(model.structure[0].get_all_residue_names())
    found = build_restraints(model.structure, model.atoms, model.crystal, library)
    across, own, n = found.across, found, len(model.atoms)
    number = np.concatenate([np.arange(n), across.mates.source])
    name, residue = model.atoms.identity.atom_name[number], model.atoms.identity.residue[number]
    residue[n:] += 2

    def described(restraints: Any) -> list[tuple[Any, ...]]:
        """Names and numbers of what is between residues, from the carbonyl on."""
        between = [np.ptp(residue[row]) > 0 for row in restraints.index]
        rows = zip(name[restraints.index[between]].tolist(), restraints.ideal[between], restraints.sigma[between])
        return sorted((tuple(min(names, names[::-1])), ideal, sigma) for names, ideal, sigma in rows)

    for kind in ("bonds", "angles", "torsions"):
        assert described(getattr(across, kind)) == described(getattr(own, kind))
    assert [len(getattr(across, kind).index) for kind in ("bonds", "angles", "torsions")] == [1, 3, 1]
    assert sorted(name[across.planes.index]) == ["C", "CA", "N", "O"]
    assert set(residue[across.planes.index]) == {1, 2}
    assert found.notes[0] == "1 link to symmetry mates is restrained: A/ILE 61/C - A/ILE 60/N (x+1,y,z)"


def test_three_atoms_across_are_no_plane() -> None:
    structure = _fibre()
    structure[0]["A"][1].remove_atom("O", "\0")
    model = read_model(structure)
    library = load_monomers(model.structure[0].get_all_residue_names())
    across = build_restraints(model.structure, model.atoms, model.crystal, library).across
    assert len(across.bonds.index) == 1
    assert len(across.planes.index) == 0


def test_a_link_to_a_mate_of_what_is_held_is_not_restrained() -> None:
    model = read_model(_fibre("QQQ"))
    library = library_for(model.structure, (), None, "hold")
    found = build_restraints(model.structure, model.atoms, model.crystal, library, unknown="hold")
    assert found.held.all()
    assert len(found.across) == 0
    assert not any("symmetry mates" in note for note in found.notes)


def test_validation_lists_what_is_wrong_with_it(tmp_path: Path) -> None:
    target, atoms = _target(_write(tmp_path / "a.pdb", "P 1 2 1", False, _link(1, 1, "2555")))
    stretched = atoms.xyz.copy()
    stretched[5, 0] += 0.3
    found, worst, counts = find_outliers(atoms.replace(xyz=stretched), target.restraints, 1)
    assert counts["bond to mate"] == {"count": 1, "outliers": 1}
    assert counts["angle to mate"]["count"] == 2
    (row,) = [row for row in found if row.kind == "bond to mate"]
    assert row.atoms == (5, 5)
    assert row.value == pytest.approx(2.0 * np.hypot(stretched[5, 0], stretched[5, 2]), abs=1e-6)
    assert row.ideal == pytest.approx(2.031)
    assert worst[0] >= abs(row.z)


def test_a_link_to_a_mate_of_another_residue_is_the_link(tmp_path: Path) -> None:
    """The second cysteine is written a cell further: the restraints are those of the two side by side."""
    path = _write(tmp_path / "a.pdb", "P 1", True, _link(1, 2, "1655"))
    structure = gemmi.read_pdb(str(path))
    for site in structure[0][0][1]:
        site.pos += gemmi.Position(CELL, 0.0, 0.0)
    structure.write_pdb(str(path))
    shifted, atoms = _target(path)
    both, pair = _target(_write(tmp_path / "b.pdb", "P 1", True, _link(1, 2, "1555")))
    assert set(shifted.restraints.across.shares[0]) == {1.0}
    value, gradient = shifted(atoms)
    expected, slope = both(pair)
    assert value == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(gradient.xyz, slope.xyz, rtol=1e-6, atol=1e-6)
    assert {row.kind for row in shifted.outliers(atoms, 0.5)} >= {TO_MATES["bond"], TO_MATES["angle"]}


def _made_up(n: int = 12, seed: int = 3) -> tuple[Restraints, Atoms, Crystal]:
    """Restraints of every kind across an oblique cell, an atom and its own mate in one restraint among them."""
    box = crystal("C 1 2 1")
    rng = np.random.default_rng(seed)
    atoms = atoms_from(rng.normal(0.0, 2.0, (n, 3)), ["C"] * n, np.full(n, 20.0), np.ones(n))
    source = rng.integers(0, n, 5)
    source[0] = 0
    number = rng.integers(0, len(box.rotations), 5)
    rotation = box.orth @ box.rotations[number] @ box.frac
    shift = box.translations[number] @ box.orth.T
    bonds = np.array([[0, n], [1, n + 1], [n + 2, n + 3]])
    angles = np.array([[1, 0, n], [n + 1, n + 2, 4]])
    torsions = np.array([[1, 0, n, n + 1], [2, 3, n + 4, 5]])
    planes = np.array([0, 1, n, n + 2, 6, 7, n + 3, 8, 9])
    known = dataclasses.replace(Restraints.none(n), across=Across(
        Mates(source, rotation, shift),
        Bonds(bonds, np.full(3, 1.8), np.array([0.02, 0.3, 0.5])),
        Angles(angles, np.array([104.0, 120.0]), np.full(2, 4.0)),
        Torsions(torsions, np.array([90.0, 10.0]), np.full(2, 10.0), np.array([2, 1])),
        Planes(planes, np.array([0] * 5 + [1] * 4), np.full(9, 0.1)),
        (np.array([0.5, 1.0, 1.0]), np.array([0.5, 1.0]), np.ones(2), np.ones(9)),
    ))  # fmt: skip
    return known, atoms, box


def test_gradients_across_symmetry() -> None:
    restraints, atoms, box = _made_up()
    target = GeometryTarget.build(restraints, box, FIRM)
    value, gradient = target(atoms)
    rng = np.random.default_rng(1)
    for _ in range(5):
        direction = rng.normal(size=atoms.xyz.shape)
        step = 1e-5
        up, down = (target(atoms.replace(xyz=atoms.xyz + s * step * direction))[0] for s in (1.0, -1.0))
        scale = np.linalg.norm(gradient.xyz) * np.linalg.norm(direction)
        assert float((gradient.xyz * direction).sum()) == pytest.approx((up - down) / (2.0 * step), abs=1e-8 * scale)
    terms = target.terms(atoms)
    assert {kind: terms[kind].count for kind in TO_MATES.values()} == {
        "bond to mate": 3, "angle to mate": 2, "torsion to mate": 2, "plane to mate": 9
    }  # fmt: skip
    assert sum(terms[kind].value for kind in TO_MATES.values()) == pytest.approx(value, rel=1e-12)
    # The rows of the preconditioner are the derivatives of z: all but torsions, which are soft.
    slopes = jacobian(target, atoms, torsions=True)
    assert slopes.shape == (16, 3 * len(atoms))
    assert jacobian(target, atoms).shape[0] == 14
    direction = rng.normal(size=3 * len(atoms))
    up, down = (
        target.terms(atoms.replace(xyz=atoms.xyz + s * 1e-6 * direction.reshape(-1, 3)), ["bond to mate"])
        for s in (1.0, -1.0)
    )
    change = (up["bond to mate"].value - down["bond to mate"].value) / 2e-6
    bonds = next(target._terms(atoms, ["bond to mate"]))
    pull = bonds.z * np.sqrt(stiffness(bonds.z / np.sqrt(bonds.weight), target.firm(bonds.index)))
    assert np.abs(pull).max() > 1.05 * np.abs(bonds.z).max()
    assert float(pull @ (slopes[:3] @ direction)) == pytest.approx(change, rel=1e-5)


def test_held_atoms_have_no_restraints_across() -> None:
    restraints, atoms, _ = _made_up()
    across = restraints.across
    mask = np.zeros(len(atoms), dtype=bool)
    mask[0] = True
    kept = restraints.without(mask).across
    touching = np.concatenate([mask, mask[across.mates.source]])
    assert len(kept.bonds.index) == (~touching[across.bonds.index].any(axis=1)).sum() < 3
    assert not touching[kept.angles.index].any()
    assert not touching[kept.torsions.index].any()
    assert not touching[kept.planes.index].any()
    assert (np.bincount(kept.planes.plane, minlength=1) != 0).all() if len(kept.planes.plane) else True
    assert [len(s) for s in kept.shares] == [
        len(x) for x in (kept.bonds.index, kept.angles.index, kept.torsions.index, kept.planes.index)
    ]


@pytest.mark.parametrize("n_models", [1, 3])
def test_device_places_mates_and_returns_their_pull(emulated_cuda: ModuleType, n_models: int) -> None:
    restraints, atoms, _ = _made_up()
    m, n = restraints.across.mates, len(atoms)
    rng = np.random.default_rng(4)
    xyz = rng.normal(size=(n_models, n, 3))
    plan = mates_cuda.plan(n, m.source, m.rotation, m.shift, n_models)
    extended = to_host(mates_cuda.place(plan, to_device(xyz, np.float64)))
    for k in range(n_models):
        expected = mates.placed(xyz[k], m)
        np.testing.assert_allclose(extended[k], expected, rtol=1e-12, atol=1e-12)
    # The adjoint, by the dot test.
    pull, value = rng.normal(size=extended.shape), rng.normal(size=n_models)
    gradient, total = to_device(np.ones((n_models, n, 3)), np.float64), to_device(np.ones(n_models), np.float64)
    mates_cuda.add(plan, (to_device(value, np.float64), to_device(pull, np.float64)), total, gradient)
    np.testing.assert_allclose(to_host(total), 1.0 + value, rtol=1e-12)
    direction = rng.normal(size=xyz.shape)
    for k in range(n_models):
        moved = mates.placed(direction[k], dataclasses.replace(m, shift=0.0 * m.shift))
        dot = float(((to_host(gradient)[k] - 1.0) * direction[k]).sum())
        assert dot == pytest.approx(float((pull[k] * moved).sum()), rel=1e-12)
    with pytest.raises(ValueError, match="for mates of"):
        mates_cuda.place(plan, to_device(xyz[:, :-1], np.float64))


SITE = "HETATM{n:5d}  {name:<3s} {residue} A{m:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00 20.00          {element:>2s}\n"


def _zinc(path: Path, moved: bool) -> tuple[Restraints, Atoms, Crystal]:
    """Zinc with four cysteines about it, in P 21; two of them written as their symmetry mates where asked."""
    rng = np.random.default_rng(0)
    box = Crystal((40.0, 44.0, 48.0, 90.0, 100.0, 90.0), "P 1 21 1")
    rotation = box.orth @ box.rotations[1] @ box.frac
    shift = box.orth @ (box.translations[1] + [1.0, -1.0, 0.0])
    text = "CRYST1   40.000   44.000   48.000  90.00 100.00  90.00 P 1 21 1\n"
    text += SITE.format(n=1, name="ZN", residue=" ZN", m=1, x=20.0, y=20.0, z=20.0, element="ZN")
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3.0)
    for k, corner in enumerate(corners):
        for j, (name, distance) in enumerate((("SG", 2.35 + 0.3 * (k % 2)), ("CB", 4.1))):
            place = 20.0 + distance * corner + rng.normal(0.0, 0.05, 3)
            if moved and k > 1:
                place = rotation @ place + shift
            x, y, z = place
            text += SITE.format(n=10 * k + j + 2, name=name, residue="CYS", m=10 + k, x=x, y=y, z=z, element=name[0])
    path.write_text(text + "END\n")
    model = read_model(path)
    library = load_monomers(model.structure[0].get_all_residue_names(), [])
    restraints = build_restraints(model.structure, model.atoms, model.crystal, library)
    found = with_external(restraints, model.atoms, 1.5, External(), crystal=model.crystal)
    return found, model.atoms, model.crystal


def test_a_metal_between_molecules(tmp_path: Path) -> None:
    """Distances, angles of the tetrahedron, energy and gradient are those of the donors side by side."""
    plain, beside, box = _zinc(tmp_path / "a.pdb", False)
    across, apart, _ = _zinc(tmp_path / "b.pdb", True)
    assert not plain.across.distances
    assert [d.kind for d in across.across.distances] == ["metal to mate", "metal to mate, robust"]
    assert sum(len(d) for d in across.across.distances) == 7  # two distances, five of six angles
    assert sum(len(d) for d in (*across.distances, *across.across.distances)) == 10
    assert sum(len(d) for d in plain.distances) == 10
    assert any("4 x Zn-S, and 6 angles of tetrahedral zinc" in n and "2 of them to symmetry mates" in n
               for n in across.notes)  # fmt: skip
    options = Geometry(contacts=False)
    one, two = (GeometryTarget.build(r, box, options) for r, a in ((plain, beside), (across, apart)))
    value, gradient = two(apart)
    expected, slope = one(beside)
    assert value == pytest.approx(expected, rel=2e-3)  # the file has three decimals
    turned = slope.xyz.copy()
    moved = np.isin(apart.identity.sequence_number, (12, 13))
    turned[moved] = slope.xyz[moved] @ (box.orth @ box.rotations[1] @ box.frac).T
    np.testing.assert_allclose(gradient.xyz, turned, atol=0.02 * np.abs(turned).max())
    assert set(two.terms(apart)) >= {"metal", "metal to mate", "metal to mate, robust"}
    assert set(two.of_dictionary.terms(apart)) == set(one.of_dictionary.terms(beside))
    direction = np.random.default_rng(2).normal(size=apart.xyz.shape)
    up, down = (two(apart.replace(xyz=apart.xyz + s * 1e-6 * direction))[0] for s in (1.0, -1.0))
    scale = np.linalg.norm(gradient.xyz) * np.linalg.norm(direction)
    assert float((gradient.xyz * direction).sum()) == pytest.approx((up - down) / 2e-6, abs=1e-7 * scale)
    assert jacobian(two, apart).shape[0] == jacobian(one, beside).shape[0]
    assert not with_external(plain, beside, 1.5, External()).across.distances


def test_a_metal_on_an_axis_is_held_by_the_donors_of_the_model_alone(tmp_path: Path) -> None:
    """The mate of a donor under the operator that leaves the metal where it is adds nothing."""
    text = "CRYST1   40.000   44.000   48.000  90.00 100.00  90.00 P 1 2 1\n"
    text += SITE.format(n=1, name="ZN", residue=" ZN", m=1, x=0.0, y=20.0, z=0.0, element="ZN")
    text += SITE.format(n=2, name="SG", residue="CYS", m=2, x=1.8, y=21.5, z=0.3, element="S")
    path = tmp_path / "axis.pdb"
    path.write_text(text + "END\n")
    model = read_model(path)
    library = load_monomers(model.structure[0].get_all_residue_names(), [])
    restraints = build_restraints(model.structure, model.atoms, model.crystal, library)
    found = with_external(restraints, model.atoms, 1.5, External(), crystal=model.crystal)
    assert [len(d) for d in found.distances] == [1]
    assert not found.across.distances


def test_of_two_images_about_an_axis_through_the_metal_one_stands_for_both(tmp_path: Path) -> None:
    text = "CRYST1   40.000   44.000   48.000  90.00 100.00  90.00 P 1 2 1\n"
    text += SITE.format(n=1, name="ZN", residue=" ZN", m=1, x=0.0, y=20.0, z=0.0, element="ZN")
    text += SITE.format(n=2, name="SG", residue="CYS", m=2, x=41.8, y=21.5, z=0.3, element="S")
    found, _ = _of(tmp_path / "a.pdb", text)
    assert not sum(len(d) for d in found.distances)
    assert sum(len(d) for d in found.across.distances) == 1


def test_a_donor_on_an_axis_is_one_donor(tmp_path: Path) -> None:
    text = "CRYST1   40.000   44.000   48.000  90.00 100.00  90.00 P 1 2 1\n"
    text += SITE.format(n=1, name="ZN", residue=" ZN", m=1, x=1.7, y=20.0, z=0.9, element="ZN")
    text += SITE.format(n=2, name="O", residue="HOH", m=2, x=0.0, y=20.8, z=0.0, element="O")
    found, _ = _of(tmp_path / "a.pdb", text)
    assert [len(d) for d in found.distances] == [1]
    assert not found.across.distances


@pytest.mark.parametrize("first", ["metal", "donor"])
def test_what_the_dictionary_joins_across_is_left_to_it(tmp_path: Path, first: str) -> None:
    """Zinc and cysteine have a link in the library, whichever is named first."""
    lines = _write(tmp_path / "a.pdb", "P 1 2 1", False, "").read_text().splitlines()
    ends = ["ZN    ZN A   2", " SG  CYS A   1"]
    one, two = ends if first == "metal" else ends[::-1]
    link = f"LINK        {one}                {two}     1555   2555  2.34  "
    zinc = SITE.format(n=20, name="ZN", residue=" ZN", m=2, x=-2.9, y=9.2, z=0.9, element="ZN")
    kept = [line for line in lines if line.strip() != "END"]
    found, atoms = _of(tmp_path / "b.pdb", "\n".join([link, *kept, zinc]))
    assert 2.34 in found.across.bonds.ideal.round(2)
    donors = [atoms.element[found.across.mates.source[d.index[:, 1] - len(atoms)]] for d in found.across.distances]
    assert "S" not in np.concatenate([np.zeros(0, dtype=str), *donors])


def test_manganese_of_a_real_crystal_is_held_from_both_sides(case: Callable[[str], Path]) -> None:
    """Mn 300 of 1rx2 binds His 149 and Asp 116 of the next molecule."""
    model = read_model(case("1rx2") / "model.pdb")
    library = load_monomers(model.structure[0].get_all_residue_names(), [])
    restraints = build_restraints(model.structure, model.atoms, model.crystal, library)
    whole = with_external(restraints, model.atoms, 1.8, External(), crystal=model.crystal)
    found = whole.across
    rows = {
        str(model.atoms.identity.label(int(found.mates.source[mate - len(model.atoms)]))): float(ideal)
        for d in found.distances for (_, mate), ideal in zip(d.index.tolist(), d.ideal)
    }  # fmt: skip
    assert rows["A/HIS 149/ND1"] == 2.21
    assert any("to symmetry mates: " in note and "A/HIS 149/ND1 (x-1,y,z)" in note for note in whole.notes)
    assert "A/ASP 116/OD1.A" in rows or "A/ASP 116/OD2.A" in rows or "A/ASP 116/O.A" in rows


@pytest.mark.parametrize("torsions", [True, False])
def test_restraints_on_the_device_agree(emulated_cuda: ModuleType, torsions: bool) -> None:
    restraints, atoms, box = _made_up()
    n = len(atoms)
    further = Distances("metal to mate", np.array([[3, n + 5]]), np.array([2.2]), np.array([0.05]), 1.0, 0.7)
    alone = restraints.across.with_distances(Mates(*(a[:1] for a in vars(restraints.across.mates).values())), further)
    restraints = dataclasses.replace(
        restraints, bonds=Bonds(np.array([[2, 3], [4, 5]]), np.full(2, 1.5), np.full(2, 0.1)), across=alone
    )
    if not torsions:  # mates of metals only
        metals = dataclasses.replace(Across.none(), mates=alone.mates, distances=alone.distances)
        restraints = dataclasses.replace(restraints, across=metals)
    target = GeometryTarget.build(restraints, box, dataclasses.replace(FIRM, torsions=torsions))
    adp = AdpTarget.build(restraints, box, atoms, "none", Geometry())
    device = DeviceRestraints(target, adp, atoms.multiplicity)
    value, gradient = device.geometry(to_device(atoms.xyz[None], np.float64))
    expected, slope = target(atoms)
    assert float(to_host(value)[0]) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(to_host(gradient)[0], slope.xyz, rtol=1e-9, atol=1e-9)


def test_a_refinement_closes_a_disulfide_about_an_axis(tmp_path: Path) -> None:
    """Data that know nothing of it (5 Å) leave the sulphurs at 1.9 Å; the restraint brings them to 2.03 Å."""
    path = _write(tmp_path / "model.pdb", "P 1 2 1", False, _link(1, 1, "2555"))
    model = read_model(path)
    hkl = model.crystal.unique_reflections(3.0, CELL)
    f = np.abs(StructureFactors(model.crystal, hkl, model.atoms)(model.atoms))
    table = gemmi.Mtz(with_base=True)
    table.spacegroup = model.crystal.gemmi_space_group
    table.set_cell_for_all(model.crystal.gemmi_cell)
    table.add_dataset("made")
    for label, kind in (("F", "F"), ("SIGF", "Q"), ("FREE", "I")):
        table.add_column(label, kind)
    free = np.random.default_rng(0).random(len(hkl)) > 0.1
    table.set_data(np.column_stack([hkl, f, 0.05 * f + 0.1, free]).astype(np.float32))
    table.write_to_file(str(tmp_path / "data.mtz"))
    distances = {}
    for linked in (True, False):
        if not linked:
            text = path.read_text().replace("SSBOND", "REMARK")
            (tmp_path / "apart.pdb").write_text(text)
        # A fixed weight: steering leaves out what CA strains, which is of the wrong hand here, and that is most of it.
        fixed = Weighting(geometry=20.0)
        options = Options(
            cycles=2, targets=("xyz",), report=False, hydrogens="strip", tls=("none",), weights="fixed", weighting=fixed
        )
        result = refine(path if linked else tmp_path / "apart.pdb", tmp_path / "data.mtz", options)
        sulphur = result.atoms.xyz[result.atoms.identity.atom_name == "SG"][0]
        distances[linked] = 2.0 * float(np.hypot(sulphur[0], sulphur[2]))
        said = any("to symmetry mates is restrained" in note for note in result.report.warnings)
        assert said
    assert distances[True] == pytest.approx(2.03, abs=0.06)
    assert distances[False] == pytest.approx(distances[True], abs=1e-6)  # the unnamed link was found
