"""Anything that may be in a model, each a few atoms in a small crystal: one cycle, and nothing is lost or torn."""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest

from arrayrefine import Options, example, refine
from arrayrefine.result import Result

Case = Callable[[str], Path]
Solved = Callable[..., tuple[Result, gemmi.Structure]]

D_MIN = 2.8


def piece(first: int = 1, last: int = 8, others: tuple[str, ...] = ()) -> gemmi.Structure:
    """Residues of the example's protein, and its other residues of some names, alone."""
    structure = gemmi.read_structure(str(example.MODEL))
    return cut(structure, lambda c, r: (first <= r.seqid.num <= last and r.het_flag == "A") or r.name in others)


def cut(structure: gemmi.Structure, wanted: Callable[[gemmi.Chain, gemmi.Residue], bool]) -> gemmi.Structure:
    """A structure of the wanted residues alone."""
    out = gemmi.Structure()
    out.add_model(gemmi.Model(1))
    for chain in structure[0]:
        kept = gemmi.Chain(chain.name)
        for residue in chain:
            if wanted(chain, residue):
                kept.add_residue(residue)
        if len(kept):
            out[0].add_chain(kept)
    return out


def component(name: str, number: int = 1) -> gemmi.Residue:
    """A residue as its dictionary draws it."""
    folder = Path(example.__file__).parent / "data" / "monomers" / name[0].lower()
    residue = gemmi.make_structure_from_chemcomp_block(gemmi.cif.read(str(folder / f"{name}.cif"))[-1])[0][0][0]
    residue.remove_hydrogens()
    residue.seqid.num, residue.het_flag = number, "H"
    return residue


def sites(structure: gemmi.Structure) -> list[gemmi.Atom]:
    return [site for chain in structure[0] for residue in chain for site in residue]


def names(structure: gemmi.Structure) -> set[tuple[str, ...]]:
    return {
        (c.name, str(r.seqid), r.name, a.name, a.altloc) for c in structure[0] for r in c for a in r
    }


def with_conformer(residue: gemmi.Residue, chosen: tuple[str, ...] | None, shift: gemmi.Position) -> None:
    """Split the chosen atoms (all by default) into conformers A and B."""
    whole = [site.clone() for site in residue if chosen is None or site.name in chosen]
    for site in list(whole):
        residue.remove_atom(site.name, "\0", site.element)
    for letter, occupancy, move in (("A", 0.6, gemmi.Position(0, 0, 0)), ("B", 0.4, shift)):
        for site in whole:
            other = site.clone()
            other.altloc, other.occ, other.pos = letter, occupancy, site.pos + move
            residue.add_atom(other)


@pytest.fixture
def solved(tmp_path: Path) -> Solved:
    """Refine a model, displaced by 0.1 Å, against its own structure factors; returns also what was written."""

    def go(
        structure: gemmi.Structure, suffix: str = ".cif", group: str = "P 1", boxed: bool = True, checked: bool = True,
        **options: object,
    ) -> tuple[Result, gemmi.Structure]:
        if boxed:
            xyz = np.array([site.pos.tolist() for site in sites(structure)])
            size = np.ptp(xyz, axis=0) + 8.0
            structure.cell = gemmi.UnitCell(*size, 90, 90, 90)
        structure.spacegroup_hm = group
        structure.setup_cell_images()
        for site in sites(structure):
            site.b_iso = 15.0
        structure.setup_entities()
        path = tmp_path / f"model{suffix}"
        if suffix == ".pdb":
            structure.write_pdb(str(path))
        else:
            structure.make_mmcif_document().write_file(str(path))
        data = tmp_path / "data.mtz"
        observed(structure, data)
        chosen = {"cycles": 1, "perturb": 0.1} | options
        result = refine(path, data, Options(**chosen))  # type: ignore[arg-type]
        result.write(tmp_path / "out")
        written = gemmi.read_structure(str(tmp_path / "out" / "refined.cif"))
        for name in ("refined.cif", "refined.pdb"):
            if (tmp_path / "out" / name).exists():
                other = gemmi.read_structure(str(tmp_path / "out" / name))
                other.remove_hydrogens()
                assert names(other) == names(structure)
        assert np.isfinite(result.atoms.xyz).all()
        if checked:
            assert result.r_work < result.report.start.r_work + 0.002
            for value in (result.report.final.bond_rmsz, result.report.final.angle_rmsz):
                assert value is None or value < 2.5
        return result, written

    return go


def observed(structure: gemmi.Structure, path: Path) -> None:
    """Write structure factors of a model as data."""
    group = structure.find_spacegroup()
    hkl = gemmi.make_miller_array(structure.cell, group, D_MIN)
    calculator = gemmi.DensityCalculatorX()
    calculator.d_min, calculator.rate = D_MIN, 1.5
    calculator.grid.setup_from(structure)
    calculator.set_refmac_compatible_blur(structure[0])
    calculator.put_model_density_on_grid(structure[0])
    grid = gemmi.transform_map_to_f_phi(calculator.grid)
    f = np.abs(grid.get_value_by_hkl(hkl, unblur=calculator.blur)) + 0.1
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup, mtz.cell = group, structure.cell
    mtz.add_dataset("data")
    for label, kind in (("FP", "F"), ("SIGFP", "Q"), ("FREE", "I")):
        mtz.add_column(label, kind)
    free = np.arange(len(f)) % 12
    mtz.set_data(np.column_stack([hkl, f, 0.03 * f + 0.5, free]).astype(np.float32))
    mtz.write_to_file(str(path))


def said(result: Result, *words: str) -> bool:
    return any(all(word in note for word in words) for note in result.report.warnings)


def distance(structure: gemmi.Structure, one: str, two: str) -> float:
    """Between two atoms, each "CHAIN/NUMBER/NAME"."""
    found = []
    for label in (one, two):
        chain, number, name = label.split("/")
        residue = next(r for r in structure[0][chain] if str(r.seqid) == number and name in [a.name for a in r])
        found.append(residue[name][0].pos)
    return float(found[0].dist(found[1]))


@pytest.mark.parametrize("suffix", [".pdb", ".cif"])
def test_conformers_of_residues_and_of_single_atoms(solved: Solved, suffix: str) -> None:
    structure = piece(1, 8)
    chain = structure[0][0]
    with_conformer(chain[3], None, gemmi.Position(0.4, 0.5, 0.3))
    with_conformer(chain[6], ("CB",), gemmi.Position(0.3, 0.3, 0.0))
    result, written = solved(structure, suffix)
    for letter in "AB":
        assert {a.name for a in written[0][0][3] if a.altloc == letter} == {a.name for a in chain[3] if a.altloc == "A"}
    riding = result.atoms
    assert len(riding) == len(sites(structure))


def test_hydrogens_of_an_atom_whose_neighbours_alone_have_conformers(solved: Solved) -> None:
    """They are there in both, by the occupancies of the neighbours; and these follow when they are refined."""
    structure = piece(1, 6)
    k = next(k for k, r in enumerate(structure[0][0]) if r.name == "LEU")
    with_conformer(structure[0][0][k], ("CB", "CG", "CD1", "CD2"), gemmi.Position(0.5, 0.5, 0.3))
    result, _ = solved(structure, checked=False, write_hydrogens="yes", targets=("occupancy",))
    who, occupancy = result.atoms.identity, result.atoms.occupancy
    here = who.sequence_number == structure[0][0][k].seqid.num
    beta = {str(who.altloc[i]): occupancy[i] for i in np.flatnonzero(here & (who.atom_name == "CB"))}
    alpha = {str(who.altloc[i]): occupancy[i] for i in np.flatnonzero(here & (who.atom_name == "HA"))}
    assert beta.keys() == alpha.keys() == {"A", "B"}
    assert abs(beta["A"] - 0.6) > 1e-3  # it was refined
    assert sum(alpha.values()) == pytest.approx(1.0)
    assert alpha["A"] / alpha["B"] == pytest.approx(beta["A"] / beta["B"])


@pytest.mark.parametrize("suffix", [".pdb", ".cif"])
def test_insertion_codes(solved: Solved, suffix: str) -> None:
    structure = piece(1, 6)
    for k, (number, code) in enumerate(((52, " "), (52, "A"), (52, "B"), (53, " "), (53, "A"), (54, " "))):
        structure[0][0][k].seqid = gemmi.SeqId(number, code)
    result, written = solved(structure, suffix)
    assert [str(r.seqid) for r in written[0][0]] == ["52", "52A", "52B", "53", "53A", "54"]
    assert not said(result, "chain break")
    for one, two in (("52", "52A"), ("52A", "52B"), ("52B", "53"), ("53", "53A"), ("53A", "54")):
        assert distance(written, f"A/{one}/C", f"A/{two}/N") == pytest.approx(1.33, abs=0.08)


@pytest.mark.parametrize("suffix", [".pdb", ".cif"])
def test_microheterogeneity(solved: Solved, suffix: str) -> None:
    structure = piece(1, 8)
    chain = structure[0][0]
    k = next(k for k, r in enumerate(chain) if r.name == "LEU")
    first, second = chain[k].clone(), chain[k].clone()
    second.name = "ALA"
    for name in ("CG", "CD1", "CD2"):
        second.remove_atom(name, "\0", gemmi.Element("C"))
    for residue, letter, occupancy in ((first, "A", 0.7), (second, "B", 0.3)):
        for site in residue:
            site.altloc, site.occ = letter, occupancy
    del chain[k]
    chain.add_residue(first, k)
    chain.add_residue(second, k + 1)
    result, written = solved(structure, suffix)
    there = [r for r in written[0][0] if str(r.seqid) == str(first.seqid)]
    assert [r.name for r in there] == ["LEU", "ALA"]
    before, after = chain[k - 1], chain[k + 2]
    for residue in there:
        number = str(residue.seqid)
        here = {a.name: a.pos for a in residue}
        assert here["N"].dist(written[0][0][k - 1]["C"][0].pos) == pytest.approx(1.33, abs=0.1), (number, before)
        assert here["C"].dist(written[0][0][k + 2]["N"][0].pos) == pytest.approx(1.33, abs=0.1), (number, after)
    assert not said(result, "chain break")


def test_side_chains_that_are_partly_missing(solved: Solved) -> None:
    structure = piece(1, 10)
    for residue in structure[0][0]:
        kept = ("N", "CA", "C", "O", "CB", "CG", "CG1", "OG")
        for k in [k for k, site in enumerate(residue) if site.name not in kept][::-1]:
            del residue[k]
    result, _ = solved(structure, write_hydrogens="yes")
    assert said(result, "without a definite place, of occupancy 0")
    atoms = result.atoms
    ends = np.isin(atoms.identity.atom_name, ("HG2", "HG3")) & (atoms.identity.residue_name == "LEU")
    assert (atoms.occupancy[ends] == 0.0).all()


def test_d_amino_acid_keeps_its_hand(case: Case, tmp_path: Path) -> None:
    folder = case("6mw0")
    result = refine(folder / "shaken.cif", folder / "norm.mtz", Options(cycles=1, d_min=1.2))
    atoms = result.atoms
    who = atoms.identity
    signs = {}
    for name in ("DPN", "PHE"):
        xyz = [
            atoms.xyz[(who.residue_name == name) & (who.altloc == "A") & (who.atom_name == atom)][0]
            for atom in ("CA", "N", "C", "CB")
        ]
        signs[name] = np.sign(np.linalg.det(np.array(xyz[1:]) - xyz[0]))
    assert signs["DPN"] == -signs["PHE"]
    assert result.report.final.bond_rmsz < 1.5
    nitrogen = np.flatnonzero((who.residue_name == "DPN") & (who.atom_name == "N"))
    carbon = np.flatnonzero((who.residue_name == "MLE") & (who.sequence_number == 1003) & (who.atom_name == "C"))
    for n, c in zip(nitrogen, carbon, strict=True):
        assert np.linalg.norm(atoms.xyz[n] - atoms.xyz[c]) == pytest.approx(1.33, abs=0.08)


@pytest.mark.parametrize("named", [False, True])
def test_cyclic_peptide(solved: Solved, named: bool) -> None:
    structure = gemmi.Structure()
    structure.add_model(gemmi.Model(1))
    chain = gemmi.Chain("A")
    n, radius = 6, 3.9
    for k in range(n):
        residue = gemmi.Residue()
        residue.name, residue.seqid, residue.het_flag = "GLY", gemmi.SeqId(k + 1, " "), "A"
        for j, (name, element) in enumerate((("N", "N"), ("CA", "C"), ("C", "C"), ("O", "O"))):
            angle = 2 * np.pi * (3 * k + min(j, 2)) / (3 * n)
            r = radius + (1.15 if j == 3 else 0.0)
            z = 0.35 * (-1) ** (3 * k + min(j, 2)) + (0.35 * (-1) ** (3 * k + 2) if j == 3 else 0.0)
            site = gemmi.Atom()
            site.name, site.element, site.occ = name, gemmi.Element(element), 1.0
            site.pos = gemmi.Position(r * np.cos(angle), r * np.sin(angle), z)
            residue.add_atom(site)
        chain.add_residue(residue)
    structure[0].add_chain(chain)
    if named:
        connection = gemmi.Connection()
        connection.name, connection.type = "closure", gemmi.ConnectionType.Covale
        connection.partner1 = gemmi.AtomAddress("A", gemmi.SeqId("6"), "GLY", "C", "\0")
        connection.partner2 = gemmi.AtomAddress("A", gemmi.SeqId("1"), "GLY", "N", "\0")
        structure.connections.append(connection)
    result, written = solved(structure, ".pdb", checked=False, write_hydrogens="yes")
    assert said(result, "link", "found, not named in the model") is not named
    assert not said(result, "chain break")
    bonds = [distance(written, f"A/{k}/C", f"A/{k % n + 1}/N") for k in range(1, n + 1)]
    assert max(bonds) - min(bonds) < 0.1  # the closure is one of them
    assert len(written.connections) == 1
    for residue in written[0][0]:  # no end: every N has one hydrogen
        assert {a.name for a in residue if a.is_hydrogen()} == {"H", "HA2", "HA3"}


def test_glycans_are_linked_by_distance(case: Case, solved: Solved) -> None:
    structure = gemmi.read_structure(str(case("4iid") / "model.pdb"))
    link = next(c for c in structure.connections if {c.partner1.res_id.name, c.partner2.res_id.name} == {"ASN", "NAG"})
    ends = {(p.chain_name, str(p.res_id.seqid)) for p in (link.partner1, link.partner2)}
    tree = set(ends)
    for _ in range(4):
        for c in structure.connections:
            pair = {(p.chain_name, str(p.res_id.seqid)) for p in (c.partner1, c.partner2)}
            sugar = {p.res_id.name for p in (c.partner1, c.partner2)} & {"NAG", "BMA", "MAN"}
            if sugar and pair & tree:
                tree |= pair
    small = cut(structure, lambda c, r: (c.name, str(r.seqid)) in tree)
    assert len(tree) >= 3
    result, written = solved(small, ".pdb")
    assert said(result, "link", "found, not named in the model")
    assert len(written.connections) >= len(tree) - 1
    for c in written.connections:
        a, b = (written[0].find_cra(p).atom for p in (c.partner1, c.partner2))
        assert a.pos.dist(b.pos) == pytest.approx(1.44, abs=0.1)


def test_metal_and_its_waters(solved: Solved) -> None:
    structure = gemmi.read_structure(str(example.MODEL))
    metal = next(c.atom for c in structure[0].all() if c.atom.element.name == "Mn")
    near = {
        (c.chain.name, str(c.residue.seqid)) for c in structure[0].all() if c.atom.pos.dist(metal.pos) < 4.0
    }
    small = cut(structure, lambda c, r: (c.name, str(r.seqid)) in near)
    _, written = solved(small, ".pdb")
    there = next(c.atom for c in written[0].all() if c.atom.element.name == "Mn")
    shell = sum(c.atom.pos.dist(there.pos) < 2.6 for c in written[0].all() if c.atom.element.name == "O")
    before = sum(c.atom.pos.dist(metal.pos) < 2.6 for c in small[0].all() if c.atom.element.name == "O")
    assert shell == before > 0


def test_water_on_an_axis_and_a_ligand_across_it(solved: Solved) -> None:
    structure = piece(1, 4)
    xyz = np.array([site.pos.tolist() for site in sites(structure)])
    size = np.ptp(xyz, axis=0) + 14.0
    for site in sites(structure):
        site.pos += gemmi.Position(*(7.0 - xyz.min(axis=0)))
    structure.cell = gemmi.UnitCell(2 * size[0] + 10, size[1], size[2] + 10, 90, 90, 90)
    chain = gemmi.Chain("W")
    water = component("HOH", 201)
    water[0].pos, water[0].occ = gemmi.Position(0.05, 0.2 * size[1], 0.04), 1.0
    chain.add_residue(water)
    ligand = component("GOL", 301)
    shift = gemmi.Position(0.6, 0.6 * size[1], 0.5) - gemmi.Position(ligand["C2"][0].pos)
    for site in ligand:
        site.pos += shift
        site.occ = 0.5
    chain.add_residue(ligand)
    structure[0].add_chain(chain)
    result, written = solved(structure, ".pdb", "P 1 2 1", boxed=False)
    assert said(result, "special position")
    there = written[0]["W"][0][0]
    assert abs(there.pos.x) + abs(there.pos.z) < 0.01
    assert there.occ == pytest.approx(0.5)


@pytest.mark.parametrize("same_number", [True, False])
def test_two_ligands_in_one_place(solved: Solved, same_number: bool) -> None:
    structure = piece(1, 4)
    chain = gemmi.Chain("L")
    centre = gemmi.Position(*np.max([site.pos.tolist() for site in sites(structure)], axis=0)) + gemmi.Position(4, 4, 4)
    for name, letter, occupancy in (("GOL", "A", 0.6), ("EDO", "B", 0.4)):
        ligand = component(name, 1 if same_number or letter == "A" else 2)
        middle = gemmi.Position(*np.mean([site.pos.tolist() for site in ligand], axis=0))
        for site in ligand:
            site.altloc, site.occ = letter, occupancy
            site.pos += centre - middle
        chain.add_residue(ligand)
    structure[0].add_chain(chain)
    result, written = solved(structure, ".pdb" if same_number else ".cif")
    assert {r.name for r in written[0]["L"]} == {"GOL", "EDO"}
    moved = [a.pos.dist(centre) for r in written[0]["L"] for a in r]
    assert max(moved) < 4.0  # they do not push each other away
    assert result.r_work < 0.2


def test_atoms_of_zero_occupancy(solved: Solved) -> None:
    structure = piece(1, 6)
    for site in structure[0][0][2]:
        if site.name not in ("N", "CA", "C", "O"):
            site.occ = 0.0
    result, written = solved(structure)
    assert said(result, "zero occupancy")
    assert all((a.occ == 0.0) == (a.name not in ("N", "CA", "C", "O")) for a in written[0][0][2])


@pytest.mark.parametrize("letters", [2, 3])
def test_more_than_a_hundred_chains(solved: Solved, letters: int, tmp_path: Path) -> None:
    structure = gemmi.Structure()
    structure.add_model(gemmi.Model(1))
    for k in range(110):
        chain = gemmi.Chain(("Z" * letters)[:-2] + string.ascii_uppercase[k // 26] + string.ascii_lowercase[k % 26])
        residue = component("HOH", 1)
        residue[0].pos = gemmi.Position(3.5 * (k % 5), 3.5 * (k // 5 % 5), 3.5 * (k // 25))
        chain.add_residue(residue)
        structure[0].add_chain(chain)
    result, written = solved(structure, ".cif")
    assert len(written[0]) == 110
    assert (tmp_path / "out" / "refined.pdb").exists() is (letters == 2)
    assert len(set(result.atoms.identity.chain.tolist())) == 110
