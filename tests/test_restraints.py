"""From models to restraints: traps of dictionaries, links, conformers, unknown components."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
import pytest

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.errors import InputError, MonomerError
from arrayrefine.example import MODEL
from arrayrefine.hydrogens.sources import add_hydrogens
from arrayrefine.io.models.reading import read_model
from arrayrefine.kernels import geometry
from arrayrefine.monomers import EMBEDDED, load_monomers
from arrayrefine.options import RidingHydrogens
from arrayrefine.restraints import Restraints
from arrayrefine.targets.geometry import GeometryTarget
from arrayrefine.topology import links
from arrayrefine.topology.build import build_restraints
from arrayrefine.topology.nonbonded import energy_types
from arrayrefine.wording import Caution

EXTRA_FILES = {
    "1rx2": ["FOL.cif", "NAP.cif"],
    "br_lcls": ["LYR_open.cif"],
    "5uui": ["MTN_restraints.cif"],
}
PEPTIDE = """CRYST1   40.000   40.000   40.000  90.00  90.00  90.00 P 1
ATOM      1  N   ALA A   1      -0.525   1.362   0.000  1.00 10.00           N
ATOM      2  CA  ALA A   1       0.000   0.000   0.000  1.00 10.00           C
ATOM      3  C   ALA A   1       1.520   0.000   0.000  1.00 10.00           C
ATOM      4  O   ALA A   1       2.197   1.023   0.000  1.00 10.00           O
ATOM      5  CB  ALA A   1      -0.507  -0.774  -1.205  1.00 10.00           C
"""


@dataclass(frozen=True)
class Built:
    atoms: Atoms
    crystal: Crystal
    restraints: Restraints

    def label(self, i: int) -> str:
        return self.atoms.identity.label(int(i))

    def name(self, i: int) -> str:
        return f"{self.atoms.identity.residue_name[i]}/{self.atoms.identity.atom_name[i]}"


def build(path: Path, files: list[Path] | None = None, **options: str) -> Built:
    model = read_model(path)
    library = load_monomers(model.structure[0].get_all_residue_names(), files or [])
    restraints = build_restraints(model.structure, model.atoms, model.crystal, library, **options)  # type: ignore
    return Built(model.atoms, model.crystal, restraints)


@pytest.fixture
def built(case: Callable[[str], Path]) -> Callable[..., Built]:
    def make(name: str, **options: str) -> Built:
        folder = case(name)
        path = next(p for p in (folder / "model.pdb", folder / "model.cif") if p.exists())
        return build(path, [folder / f for f in EXTRA_FILES.get(name, [])], **options)

    return make


def _pairs(table: np.ndarray) -> set[tuple[int, int]]:
    return {(int(min(p)), int(max(p))) for p in table}


def _atom(built: Built, residue: int, name: str, chain: str = "A") -> int:
    identity = built.atoms.identity
    found = np.flatnonzero(
        (identity.sequence_number == residue) & (identity.atom_name == name) & (identity.chain == chain)
    )
    return int(found[0])


@pytest.mark.parametrize(
    "name", ["1aba", "1cbs", "1dur", "1ehz", "1rx2", "3sb3", "4xof", "5uui", "6mw0", "br_lcls", "hewl_ssad"]
)
def test_deposited_models_agree_with_their_restraints(name: str, built: Callable[..., Built]) -> None:
    """Wrong indices, ideals or units would show as enormous deviations."""
    b = built(name)
    r, xyz = b.restraints, b.atoms.xyz
    heavy = ~b.atoms.is_hydrogen
    z, _ = geometry.bond(xyz, r.bonds.index, r.bonds.ideal, r.bonds.sigma)
    assert np.sqrt(np.mean(z[heavy[r.bonds.index].all(axis=1)] ** 2)) < 3.0
    z, _ = geometry.angle(xyz, r.angles.index, r.angles.ideal, r.angles.sigma)
    assert np.sqrt(np.mean(z[heavy[r.angles.index].all(axis=1)] ** 2)) < 2.6
    volume, _ = geometry.chirality(xyz, r.chiralities.index, np.zeros(len(r.chiralities.ideal)), np.ones(1))
    assert np.mean(np.sign(volume) == np.sign(r.chiralities.ideal)) > 0.96
    bonded = np.unique(r.bonds.index)
    lonely = np.setdiff1d(np.flatnonzero(heavy & ~r.held), bonded)
    single = np.bincount(b.atoms.identity.residue)[b.atoms.identity.residue[lonely]]
    water = np.isin(b.atoms.identity.residue_name[lonely], ("HOH", "DOD"))
    assert ((single == 1) | water).all(), [b.name(i) for i in lonely]


def test_sigmas_and_periods_are_usable(built: Callable[..., Built]) -> None:
    for name in ("1rx2", "1dur", "br_lcls"):
        r = built(name).restraints
        for part in (r.bonds, r.angles, r.torsions, r.chiralities, r.planes):
            assert (part.sigma > 0).all()
        assert (r.torsions.period >= 1).all()
        assert np.isfinite(r.angles.ideal).all()
        assert (np.bincount(r.planes.plane) >= 4).all()
        assert (np.diff(r.planes.plane) >= 0).all()


def test_chi_of_open_chains_do_not_bend_the_rings_of_prolines(built: Callable[..., Built]) -> None:
    """PRO has the ideals -60° and 180° of an open chain, which no ring of five can have."""
    for name in ("1aba", "hewl_ssad"):
        b = built(name)
        of = b.atoms.identity.residue_name[b.restraints.torsions.index]
        assert (b.atoms.identity.residue_name == "PRO").any()
        assert not (of == "PRO").all(axis=1).any()
        assert {"LEU", "TYR", "ARG"} <= {str(row[0]) for row in of[(of == of[:, :1]).all(axis=1)]}


def test_leucine_is_restrained_only_where_it_turns(built: Callable[..., Built]) -> None:
    """Ring and 'const' torsions of dictionaries, with sigma 0 and period 0, would bend every Leu."""
    b = built("1aba")
    names = {
        tuple(b.name(i) for i in row)
        for row in b.restraints.torsions.index
        if (b.atoms.identity.residue_name[row] == "LEU").all() and len(set(b.atoms.identity.residue[row])) == 1
    }
    assert names == {
        ("LEU/N", "LEU/CA", "LEU/CB", "LEU/CG"),
        ("LEU/CA", "LEU/CB", "LEU/CG", "LEU/CD1"),
    }
    z, _ = geometry.torsion(
        b.atoms.xyz, b.restraints.torsions.index, b.restraints.torsions.ideal, b.restraints.torsions.sigma,
        b.restraints.torsions.period,
    )  # fmt: skip
    assert np.median(np.abs(z)) < 1.5


def test_omega_is_restrained(built: Callable[..., Built]) -> None:
    b = built("1aba")
    names = [[b.name(i).split("/")[1] for i in row] for row in b.restraints.torsions.index]
    omega = np.array([n == ["CA", "C", "N", "CA"] for n in names])
    assert omega.sum() >= 80
    z, _ = geometry.torsion(
        b.atoms.xyz, b.restraints.torsions.index[omega], b.restraints.torsions.ideal[omega],
        b.restraints.torsions.sigma[omega], b.restraints.torsions.period[omega],
    )  # fmt: skip
    assert np.abs(z).max() < 6.0
    assert any("1 cis peptide: A 65-66" in note for note in b.restraints.notes)


def test_iron_sulphur_clusters_have_no_hand(built: Callable[..., Built]) -> None:
    b = built("1dur")
    r, residue = b.restraints, b.atoms.identity.residue_name
    cluster = residue == "SF4"
    assert not cluster[r.chiralities.index].any()
    assert not cluster[r.torsions.index].any()
    assert cluster[r.bonds.index].all(axis=1).sum() == 24
    links = cluster[r.bonds.index].sum(axis=1) == 1
    assert links.sum() == 8
    assert any("8 chiral centres with metals are not restrained" in note for note in r.notes)


def test_iron_sulphur_clusters_fit_their_restraints(built: Callable[..., Built]) -> None:
    """The deposited clusters of a crystal at 1.9 Å, which the dictionary's cube would call 4 sigma off everywhere."""
    b = built("1dur")
    cluster = np.isin(b.atoms.identity.residue_name, "SF4")
    a = b.restraints.angles
    z, _ = geometry.angle(b.atoms.xyz, a.index, a.ideal, a.sigma)
    z = z[cluster[a.index].any(axis=1) & ~b.atoms.is_hydrogen[a.index].any(axis=1)]
    assert len(z) == 48 + 24 + 8
    assert np.sqrt(np.mean(z**2)) < 1.8
    assert not (b.atoms.is_hydrogen & cluster).any()


@pytest.mark.parametrize(("name", "centre"), [("1aba", "MES/S"), ("6mw0", "MLE/CG")])
def test_centres_with_equal_ends_keep_their_hand(name: str, centre: str, built: Callable[..., Built]) -> None:
    """Which end of a sulfonate or an isopropyl group has which name is no reason to turn it inside out."""
    b = built(name)
    c = b.restraints.chiralities
    volume, _ = geometry.chirality(b.atoms.xyz, c.index, np.zeros(len(c.ideal)), np.ones(1))
    rows = [k for k, i in enumerate(c.index[:, 0]) if b.name(i) == centre]
    assert rows
    assert (np.sign(c.ideal[rows]) == np.sign(volume[rows])).all()
    name = centre.replace("/", " ").split()[0]
    assert any("the hand of the model is kept" in note and name in note for note in b.restraints.notes)


def test_real_hands_are_restrained_as_the_dictionary_says(case: Callable[[str], Path]) -> None:
    """The mirror image of a model keeps the ideals of L amino acids."""
    model = read_model(case("1aba") / "model.pdb")
    library = load_monomers(model.structure[0].get_all_residue_names())
    mirrored = model.structure.clone()
    for cra in mirrored[0].all():
        cra.atom.pos = gemmi.Position(-cra.atom.pos.x, cra.atom.pos.y, cra.atom.pos.z)
    atoms = model.atoms.replace(xyz=model.atoms.xyz * [-1.0, 1.0, 1.0])
    right = build_restraints(model.structure, model.atoms, model.crystal, library).chiralities
    left = build_restraints(mirrored, atoms, model.crystal, library).chiralities
    centre = model.atoms.identity.atom_name[right.index[:, 0]] == "CA"
    assert centre.sum() > 70
    np.testing.assert_array_equal(right.index, left.index)
    np.testing.assert_allclose(right.ideal[centre], left.ideal[centre])


def test_metal_and_ligand_are_not_contacts(built: Callable[..., Built]) -> None:
    b = built("1dur")
    excluded = _pairs(b.restraints.non_bonded.excluded)
    iron, sulphur = (
        np.flatnonzero(b.atoms.element == "Fe"),
        np.flatnonzero(b.atoms.identity.atom_name == "SG"),
    )
    near = [
        (int(min(i, j)), int(max(i, j)))
        for i in iron for j in sulphur if np.linalg.norm(b.atoms.xyz[i] - b.atoms.xyz[j]) < 3.0
    ]  # fmt: skip
    assert len(near) == 8
    assert set(near) <= excluded


def test_metals_without_a_dictionary_length_are_free(built: Callable[..., Built]) -> None:
    """gemmi guesses 1.74 Å for Mn-O of 2.4 Å: no restraint, no contact either, nor with symmetry mates."""
    b = built("1rx2")
    metal = b.atoms.element == "Mn"
    assert not metal[b.restraints.bonds.index].any()
    assert metal[b.restraints.non_bonded.excluded].any()
    across = b.restraints.non_bonded.excluded_images
    assert metal[across].any()
    notes = " | ".join(b.restraints.notes)
    assert "3 metal-ligand links" in notes
    assert "2 links to symmetry mates" in notes


def test_no_restraint_between_conformers(built: Callable[..., Built]) -> None:
    for name in ("1aba", "4xof", "6mw0"):
        b = built(name)
        altloc = b.atoms.identity.altloc
        assert (altloc != "").sum() > 20
        r = b.restraints
        for index in (r.bonds.index, r.angles.index, r.torsions.index, r.chiralities.index):
            for row in altloc[index]:
                assert len(set(row.tolist()) - {""}) <= 1
        for k in range(r.planes.plane[-1] + 1):
            assert len(set(altloc[r.planes.index[r.planes.plane == k]].tolist()) - {""}) <= 1
        letters = r.non_bonded.conformer
        assert ((letters == 0) == (altloc == "")).all()


def test_disulfide_named_and_unnamed(case: Callable[[str], Path]) -> None:
    """The same restraints with and without SSBOND; without, the find is reported."""
    path = case("1aba") / "model.pdb"
    named = build(path)
    model = read_model(path)
    structure = model.structure.clone()
    structure.connections.clear()
    library = load_monomers(structure[0].get_all_residue_names())
    found = build_restraints(structure, model.atoms, model.crystal, library)
    pair = tuple(sorted((_atom(named, 14, "SG"), _atom(named, 17, "SG"))))
    assert pair in _pairs(named.restraints.bonds.index)
    assert _pairs(found.bonds.index) == _pairs(named.restraints.bonds.index)
    assert any("not named in the model, restrained" in note and "CYS 14" in note for note in found.notes)
    assert len(structure.connections) == 0


def test_glycans_are_found_without_link_records(case: Callable[[str], Path]) -> None:
    path = case("4iid") / "model.pdb"
    model = read_model(path)
    library = load_monomers(model.structure[0].get_all_residue_names())
    named = build_restraints(model.structure, model.atoms, model.crystal, library)
    structure = model.structure.clone()
    structure.connections.clear()
    found = build_restraints(structure, model.atoms, model.crystal, library)
    missing = _pairs(named.bonds.index) - _pairs(found.bonds.index)
    assert len(missing) <= 1
    assert len(_pairs(found.bonds.index) - _pairs(named.bonds.index)) <= 1


def test_no_bond_across_a_gap(built: Callable[..., Built]) -> None:
    b = built("3g70")
    assert any("chain breaks" in note and "166-171" in note for note in b.restraints.notes)
    pair = tuple(sorted((_atom(b, 166, "C"), _atom(b, 171, "N"))))
    assert pair not in _pairs(b.restraints.bonds.index)


@pytest.mark.parametrize(
    ("name", "breaks"), [("3sb3", ""), ("6mw0", ""), ("1ehz", ""), ("3g70", "A 166-171, B 166-171")]
)
def test_chain_breaks_are_where_nothing_is_bonded(name: str, breaks: str, built: Callable[..., Built]) -> None:
    """Modified residues are bonded by links of the model, which are no breaks."""
    notes = [note for note in built(name).restraints.notes if "chain breaks" in note]
    assert [note.split(": ")[1] for note in notes] == ([breaks] if breaks else [])


def test_residues_that_share_a_main_chain_break_none(case: Callable[[str], Path]) -> None:
    """As crambin has it (1EJG): of Leu and Ile at one place the main chain bears the name of Leu."""
    structure = gemmi.read_structure(str(case("1aba") / "model.pdb"))
    chain = structure[0]["A"]
    k = next(k for k, residue in enumerate(chain) if residue.name == "LEU")
    other = chain[k].clone()
    other.name = "ILE"
    for name in ("N", "CA", "C", "O"):
        other.remove_atom(name, "\0", gemmi.Element(name[0]))
    for mine, its in zip([atom for atom in chain[k] if atom.name not in ("N", "CA", "C", "O")], other):
        its.name = {"CG": "CG1", "CD1": "CG2", "CD2": "CD1"}.get(its.name, its.name)
        mine.altloc, its.altloc, mine.occ, its.occ = "A", "B", 0.5, 0.5
    chain.add_residue(other, k + 1)
    model = read_model(structure)
    library = load_monomers(structure[0].get_all_residue_names())
    restraints = build_restraints(structure, model.atoms, model.crystal, library)
    assert not any("break" in note for note in restraints.notes)


def pulled_apart(case: Callable[[str], Path], by: float, at: int = 40, jump: int = 0) -> tuple[Built, int, int]:
    """1aba with all residues from one on moved along the peptide bond, and that bond's atoms."""
    structure = gemmi.read_structure(str(case("1aba") / "model.pdb"))
    chain = structure[0]["A"]
    structure.setup_entities()
    residues = {residue.seqid.num: residue for residue in chain.get_polymer()}
    c, n = residues[at - 1].sole_atom("C").pos, residues[at].sole_atom("N").pos
    step = (n - c) * (by / c.dist(n))
    for number, residue in residues.items():
        if number is not None and number >= at:
            for atom in residue:
                atom.pos += step
            residue.seqid.num = number + jump
    model = read_model(structure)
    library = load_monomers(structure[0].get_all_residue_names())
    built = Built(model.atoms, model.crystal, build_restraints(structure, model.atoms, model.crystal, library))
    return built, _atom(built, at - 1, "C"), _atom(built, at + jump, "N")


def stretched_or_broken(built: Built) -> list[str]:
    return [note for note in built.restraints.notes if "stretched" in note or "break" in note]


def test_a_stretched_peptide_between_neighbours_is_bonded(case: Callable[[str], Path]) -> None:
    built, c, n = pulled_apart(case, 1.5)
    assert stretched_or_broken(built) == [
        "1 stretched peptide bond between neighbours, restrained: A 39-40 (2.82 Å)"
    ]
    bonds = built.restraints.bonds
    (row,) = np.flatnonzero((bonds.index == c).any(axis=1) & (bonds.index == n).any(axis=1))
    assert bonds.ideal[row] == pytest.approx(1.337, abs=0.005)
    whole, c, n = pulled_apart(case, 0.0)
    assert len(whole.restraints.planes.index) == len(built.restraints.planes.index)
    assert len(whole.restraints.torsions.index) == len(built.restraints.torsions.index)


@pytest.mark.parametrize(("end", "bonded"), [("C", False), ("N", False), ("O", True)])
def test_a_stretched_peptide_gives_way_to_a_link_of_the_model(
    case: Callable[[str], Path], tmp_path: Path, end: str, bonded: bool
) -> None:
    """As of an ester in a depsipeptide: C or N is bonded to another atom by name, and is not bonded twice."""
    structure = gemmi.read_structure(str(case("1aba") / "model.pdb"))
    structure.setup_entities()
    chain = structure[0]["A"]
    carbon, nitrogen = chain["39"][0].sole_atom("C"), chain["40"][0].sole_atom("N")
    step = (nitrogen.pos - carbon.pos) * (1.5 / carbon.pos.dist(nitrogen.pos))
    for residue in chain.get_polymer():
        if residue.seqid.num >= 40:
            for atom in residue:
                atom.pos += step
    link = gemmi.Connection()
    link.name, link.type = "covale1", gemmi.ConnectionType.Covale
    water = next(residue for residue in chain if residue.name == "HOH")
    holder = {"C": "39", "N": "40", "O": "39"}[end]
    site = chain[holder][0].sole_atom(end)
    water[0].pos = site.pos + gemmi.Position(0.0, 0.0, 1.4)
    link.partner1 = gemmi.AtomAddress("A", chain[holder][0].seqid, chain[holder][0].name, end)
    link.partner2 = gemmi.AtomAddress("A", water.seqid, "HOH", "O")
    structure.connections.append(link)
    model = read_model(structure)
    library = load_monomers(structure[0].get_all_residue_names())
    built = Built(model.atoms, model.crystal, build_restraints(structure, model.atoms, model.crystal, library))
    assert any("stretched peptide" in note for note in stretched_or_broken(built)) == bonded
    c, n = _atom(built, 39, "C"), _atom(built, 40, "N")
    assert ((min(c, n), max(c, n)) in _pairs(built.restraints.bonds.index)) == bonded


@pytest.mark.parametrize(("by", "jump"), [(2.5, 0), (1.5, 1), (1.5, 4)])
def test_what_is_far_apart_or_not_next_in_sequence_is_not(case: Callable[[str], Path], by: float, jump: int) -> None:
    built, c, n = pulled_apart(case, by, jump=jump)
    assert stretched_or_broken(built) == [f"1 chain break: A 39-{40 + jump}"]
    assert (min(c, n), max(c, n)) not in _pairs(built.restraints.bonds.index)


def test_a_peptide_bond_that_gemmi_sees_is_left_to_it(case: Callable[[str], Path]) -> None:
    built, c, n = pulled_apart(case, 0.6)
    assert not stretched_or_broken(built)
    assert sum({c, n} == set(pair) for pair in built.restraints.bonds.index.tolist()) == 1


@pytest.mark.parametrize(("at", "omega"), [(30, 180.0), (66, 0.0)])
def test_the_stretched_link_is_the_one_before_proline_and_keeps_its_side(
    case: Callable[[str], Path], at: int, omega: float
) -> None:
    built, c, n = pulled_apart(case, 1.0, at=at)
    assert len(stretched_or_broken(built)) == 1
    cd, alpha = _atom(built, at, "CD"), _atom(built, at - 1, "CA")
    assert any({c, n, cd} == set(angle) for angle in built.restraints.angles.index.tolist())
    torsions = built.restraints.torsions
    (row,) = (k for k, t in enumerate(torsions.index.tolist()) if {alpha, c, n, _atom(built, at, "CA")} == set(t))
    assert torsions.ideal[row] % 360.0 == pytest.approx(omega, abs=1.0)


CYSTEINE = (
    ("N", (-1.048, 5.075, -2.287)), ("CA", (0.099, 4.201, -2.534)), ("C", (-0.242, 2.761, -2.174)),
    ("O", (-1.169, 2.515, -1.382)), ("CB", (1.339, 4.675, -1.781)), ("SG", (1.015, 5.000, 0.000)),
)  # fmt: skip


def _cysteines(path: Path, space_group: str, mates: bool, links: list[str]) -> Path:
    """A cysteine with its sulphur 1.015 Å from y at x = z = 0; its mate about y in the next cell where asked."""
    lines = [*links, f"CRYST1   40.000   40.000   40.000  90.00  90.00  90.00 {space_group:11s}"]
    for number, mate in ((69, False), (200, True)):
        for name, (x, y, z) in CYSTEINE if mates or not mate else ():
            xyz = (40.0 - x, y, -z) if mate else (x, y, z)
            position = "".join(f"{v:8.3f}" for v in xyz)
            serial = len(lines)
            lines.append(
                f"ATOM  {serial:5d}  {name:<3s} CYS A{number:4d}    {position}  1.00 20.00           {name[0]}"
            )
    path.write_text("\n".join([*lines, "END", ""]))
    return path


def _ssbond(one: int, two: int) -> str:
    return f"SSBOND   1 CYS A {one:4d}    CYS A {two:4d}                          1555   2555  2.03  "


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("own", [True, False], ids=["own mate", "other residue's mate"])
def test_a_disulfide_to_a_symmetry_mate(tmp_path: Path, own: bool, named: bool) -> None:
    """No term of such a link applies to the atoms as the model has them, but to the mate; nothing pushes it open."""
    first, second = (69, 69) if own else (69, 200)
    links = [_ssbond(first, second)] if named else []
    b = build(_cysteines(tmp_path / "a.pdb", "P 1 2 1" if own else "P 1", not own, links))
    r = b.restraints
    inside = 1 if own else 2
    assert len(r.bonds.index) == 5 * inside
    assert (r.bonds.index[:, 0] != r.bonds.index[:, 1]).all()
    for index in (r.bonds.index, r.angles.index, r.torsions.index, r.chiralities.index):
        numbers = b.atoms.identity.sequence_number[index]
        assert (numbers == numbers[:, :1]).all()
        assert all(len(set(row)) == len(row) for row in index.tolist())
    assert any("1 link to symmetry mates is restrained" in note for note in r.notes)
    sulphur, mate = _atom(b, first, "SG"), _atom(b, second, "SG")
    images = _pairs(r.non_bonded.excluded_images)
    for atom in ("SG", "CB", "CA"):
        other = _atom(b, second, atom)
        assert (min(sulphur, other), max(sulphur, other)) in images
    beta = sorted((_atom(b, first, "CB"), _atom(b, second, "CB")))
    assert tuple(beta) in images
    assert (min(sulphur, mate), max(sulphur, mate)) not in _pairs(r.non_bonded.excluded)
    target = GeometryTarget.build(r, b.crystal)
    labels = [o.atoms for o in target.outliers(b.atoms, 1.0) if o.kind == "contact"]
    assert not [pair for pair in labels if all(atom.split("/")[-1] in ("SG", "CB", "CA") for atom in pair)]


def test_unknown_component_is_an_error_that_helps(built: Callable[..., Built]) -> None:
    with pytest.raises(MonomerError, match="A4W") as error:
        built("5orl")
    for part in ("A 407", "--restraints", "--monomers", "--unknown hold"):
        assert part in str(error.value)


def test_unknown_component_held(built: Callable[..., Built]) -> None:
    b = built("5orl", unknown="hold")
    r = b.restraints
    ligand = b.atoms.identity.residue_name == "A4W"
    assert (r.held == ligand).all()
    assert ligand.sum() == 14
    for index in (r.bonds.index, r.angles.index, r.torsions.index, r.chiralities.index):
        assert not r.held[index].all(axis=1).any()
    assert (r.non_bonded.radius[ligand] > 1.0).all()
    assert any("A4W" in note and "held" in note for note in r.notes)
    excluded = _pairs(r.non_bonded.excluded)
    i = np.flatnonzero(ligand)
    bonded = [(a, c) for a in i for c in i if a < c and np.linalg.norm(b.atoms.xyz[a] - b.atoms.xyz[c]) < 1.6]
    assert bonded
    assert set(bonded) <= excluded


def test_an_atom_that_the_dictionary_does_not_name_is_held(tmp_path: Path) -> None:
    path = tmp_path / "odd.pdb"
    extra = "ATOM      6  QX  ALA A   1      -0.507  -2.274  -1.205  1.00 10.00           C\nEND\n"
    path.write_text(PEPTIDE + extra)
    b = build(path)
    assert b.restraints.held.tolist() == [False] * 5 + [True]
    assert any("A/ALA 1/QX" in note and "held" in note for note in b.restraints.notes)
    assert (4, 5) in _pairs(b.restraints.non_bonded.excluded)


def test_an_unknown_hydrogen_stays_with_its_atom(tmp_path: Path) -> None:
    path = tmp_path / "odd.pdb"
    extra = "ATOM      6  HQ  ALA A   1      -0.507  -1.724  -1.205  1.00 10.00           H\nEND\n"
    path.write_text(PEPTIDE + extra)
    b = build(path)
    assert not b.restraints.held.any()
    assert (4, 5) in _pairs(b.restraints.bonds.index)


def test_the_structure_is_left_alone(case: Callable[[str], Path]) -> None:
    model = read_model(case("1rx2") / "model.pdb")
    library = load_monomers(model.structure[0].get_all_residue_names())
    before = model.structure.make_pdb_string()
    links = len(library.monlib.links)
    first = build_restraints(model.structure, model.atoms, model.crystal, library)
    second = build_restraints(model.structure, model.atoms, model.crystal, library)
    assert model.structure.make_pdb_string() == before
    assert len(library.monlib.links) == links
    np.testing.assert_array_equal(first.bonds.index, second.bonds.index)
    assert first.notes == second.notes


def test_radii_with_and_without_hydrogens(built: Callable[..., Built]) -> None:
    """Implicit hydrogens widen carbon only in residues that lack their own."""
    without, present = built("1aba"), built("4xof")
    for b, methyl in ((without, 1.94), (present, 1.70)):
        identity = b.atoms.identity
        atom = (identity.residue_name == "ALA") & (identity.atom_name == "CB")
        assert atom.any()
        np.testing.assert_allclose(b.restraints.non_bonded.radius[atom], methyl)
    nb = without.restraints.non_bonded
    carbonyl = without.atoms.identity.atom_name == "O"
    amide = (without.atoms.identity.atom_name == "N") & (without.atoms.identity.residue_name == "LEU")
    assert nb.acceptor[carbonyl].all()
    assert nb.donor[amide].all()
    assert present.restraints.non_bonded.hydrogen.any()


def test_excluded_and_one_four_do_not_overlap(built: Callable[..., Built]) -> None:
    b = built("1aba")
    nb = b.restraints.non_bonded
    excluded, softened = _pairs(nb.excluded), _pairs(nb.one_four)
    assert not excluded & softened
    assert _pairs(b.restraints.bonds.index) <= excluded
    assert _pairs(b.restraints.angles.index[:, [0, 2]]) <= excluded
    ring = np.flatnonzero((b.atoms.identity.residue_name == "PHE") & (b.atoms.identity.atom_name == "CG"))[0]
    across = ring + 5
    assert b.atoms.identity.atom_name[across] == "CZ"
    assert (ring, across) in excluded


def test_wrong_number_of_atoms_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pdb"
    path.write_text(PEPTIDE + "END\n")
    model = read_model(path)
    structure = gemmi.Structure()
    structure.add_model(gemmi.Model(1))
    with pytest.raises(ValueError, match="0 atoms"):
        build_restraints(structure, model.atoms, model.crystal, load_monomers(["ALA"]))


def test_only_the_first_model_of_a_structure_has_restraints(tmp_path: Path) -> None:
    path = tmp_path / "a.pdb"
    path.write_text(PEPTIDE + "END\n")
    model = read_model(path)
    library = load_monomers(["ALA"])
    one = build_restraints(model.structure, model.atoms, model.crystal, library)
    twice = model.structure.clone()
    twice.add_model(twice[0].clone())
    two = build_restraints(twice, model.atoms, model.crystal, library)
    assert np.array_equal(two.bonds.index, one.bonds.index)
    assert len(twice) == 2


def test_what_gemmi_cannot_restrain_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pdb"
    path.write_text(PEPTIDE + "END\n")
    model = read_model(path)
    prepare = gemmi.prepare_topology

    def refuses(*_: object, **__: object) -> None:
        raise RuntimeError("wrong link")

    def renames(structure: gemmi.Structure, *rest: object, **more: object) -> object:
        structure[0][0][0][0].name = "X"
        return prepare(structure, *rest, **more)

    for instead, words in ((refuses, "can be made for this model: wrong link"), (renames, "atoms changed their order")):
        monkeypatch.setattr(gemmi, "prepare_topology", instead)
        with pytest.raises(InputError, match=words):
            build_restraints(model.structure, model.atoms, model.crystal, load_monomers(["ALA"]))


def test_energy_types_that_the_library_lacks_are_those_of_the_element(tmp_path: Path) -> None:
    path = tmp_path / "a.pdb"
    path.write_text(PEPTIDE + "END\n")
    model = read_model(path)
    library = load_monomers(["ALA"])
    assert "CH3" in library.energy
    energy = {name: kind for name, kind in library.energy.items() if name != "CH3"}
    fewer = dataclasses.replace(library, energy=energy)
    made = build_restraints(model.structure, model.atoms, model.crystal, fewer)
    assert "energy types unknown to the library, replaced by element: CH3" in made.notes
    (kind,), unknown = energy_types(["CH3"], np.array(["C"]), energy)
    assert kind == energy["C"]
    assert unknown == {"CH3"}


def test_a_centre_that_the_dictionary_gives_no_volume_is_free(tmp_path: Path) -> None:
    path = tmp_path / "a.pdb"
    path.write_text(PEPTIDE + "END\n")
    model = read_model(path)
    library = load_monomers(["ALA"])
    whole = build_restraints(model.structure, model.atoms, model.crystal, library)
    for bond in library.monlib.monomers["ALA"].rt.bonds:
        if {bond.id1.atom, bond.id2.atom} == {"CA", "CB"}:
            bond.value = np.nan
    made = build_restraints(model.structure, model.atoms, model.crystal, library)
    assert len(whole.chiralities.index) == 1
    assert not len(made.chiralities.index)
    assert "1 chiral centre without an ideal volume is not restrained" in made.notes


def test_only_residues_of_peptides_that_the_library_knows_are_bonded_as_peptides() -> None:
    monlib = load_monomers(["ALA", "GOL"]).monlib
    one, two = gemmi.Residue(), gemmi.Residue()
    for number, residue in enumerate((one, two), 1):
        residue.name, residue.seqid = "ALA", gemmi.SeqId(number, " ")
    assert links._follows(one, two)
    assert not links._follows(two, one)
    assert not links._follows(one, gemmi.Residue())  # without a number
    for name in ("GOL", "NON"):  # none of a polymer, and none that is known
        two.name = name
        assert links._peptide_link(one, two, monlib) == ""


def test_conformers_of_a_carbon_too_far_from_any_nitrogen_are_not_bonded_to_it(tmp_path: Path) -> None:
    structure = gemmi.read_structure(str(MODEL))
    for residue in structure[0]["A"]:
        if residue.seqid.num in (40, 41):
            for atom in list(residue):
                if (residue.seqid.num, atom.name) in ((40, "C"), (41, "N")):
                    atom.altloc, other = "A", atom.clone()
                    other.altloc = "B" if atom.name == "C" else "C"
                    atom.occ = other.occ = 0.5
                    if atom.name == "C":
                        other.pos += gemmi.Position(0.0, 4.0, 4.0)
                    residue.add_atom(other)
    structure.setup_entities()
    found = links._join_lone_conformers(structure, load_monomers(structure[0].get_all_residue_names()).monlib)
    assert all("40.B" not in note for note in found)
    assert any("40.A-41.C" in note for note in found)


def test_a_conformer_that_its_neighbours_do_not_have_is_bonded_to_what_fits_best(tmp_path: Path) -> None:
    structure = gemmi.read_structure(str(MODEL))
    chain = structure[0]["A"]
    for number, letters in ((40, "AB"), (41, "ABC"), (42, "AB")):
        (residue,) = (residue for residue in chain if residue.seqid.num == number)
        plain = [atom.clone() for atom in residue]
        for atom in plain:
            residue.remove_atom(atom.name, atom.altloc)
        for atom in plain:
            for k, letter in enumerate(letters):
                atom.altloc, atom.occ = letter, 1.0 / len(letters)
                residue.add_atom(atom)
                residue[-1].pos += gemmi.Position(0.15 * k, 0.0, 0.0)
    structure.setup_entities()
    path = tmp_path / "model.pdb"
    structure.write_pdb(str(path))
    with_one = build(path)
    bonds = {frozenset((with_one.label(i), with_one.label(j))) for i, j in with_one.restraints.bonds.index}
    place = {with_one.label(i).split(" ")[1]: xyz for i, xyz in enumerate(with_one.atoms.xyz)}
    c_near = min(("40/C.A", "40/C.B"), key=lambda c: abs(np.linalg.norm(place[c] - place["41/N.C"]) - 1.34))
    n_near = min(("42/N.A", "42/N.B"), key=lambda n: abs(np.linalg.norm(place[n] - place["41/C.C"]) - 1.34))
    for n, c in (("41/N.A", "40/C.A"), ("41/N.B", "40/C.B"), ("41/N.C", c_near), (n_near, "41/C.C")):
        assert len([bond for bond in bonds if {n, c} == {name.split(" ")[1] for name in bond}]) == 1
    letter = c_near[-1]
    spanning = frozenset(("41/N.C", c_near, f"40/CA.{letter}", "41/CA.C", f"40/O.{letter}"))
    for kind, width, count in (("angles", 3, 3), ("torsions", 4, 1)):
        rows = getattr(with_one.restraints, kind).index
        named = [{with_one.label(i).split(" ")[1] for i in row} for row in rows]
        inside = [one for one in named if one <= spanning and {"41/N.C", c_near} <= one]
        assert len(inside) == count
        assert all(len(one) == width for one in inside)
    planes = with_one.restraints.planes
    groups = [
        {with_one.label(i).split(" ")[1] for i in planes.index[planes.plane == k]} for k in np.unique(planes.plane)
    ]
    assert any({"41/N.C", c_near} <= group for group in groups)
    (note,) = (note for note in with_one.restraints.notes if "neighbour in sequence does not have" in note)
    assert note.endswith(f"A 40.{letter}-41.C, A 41.C-42.{n_near[-1]}")
    assert not [other for other in with_one.restraints.notes if "between different conformers" in other]
    model = read_model(path)
    library = load_monomers(sorted(set(model.structure[0].get_all_residue_names())))
    grown, _, _ = add_hydrogens(model, model.crystal, library, RidingHydrogens())
    who = grown.atoms.identity
    at_41 = (who.sequence_number == 41) & grown.atoms.is_hydrogen & (who.altloc == "C")
    n = grown.atoms.xyz[(who.sequence_number == 41) & (who.atom_name == "N") & (who.altloc == "C")]
    assert np.count_nonzero(np.linalg.norm(grown.atoms.xyz[at_41] - n, axis=1) < 1.1) == 1


@pytest.mark.parametrize(("number", "lacking"), [(40, "C"), (41, "N")])
def test_conformers_beside_a_residue_that_lacks_its_end_have_no_bond(number: int, lacking: str) -> None:
    """As the heavy-atom part of a model may have them, of residue 40 all in conformers A and B."""
    structure = gemmi.read_structure(str(MODEL))
    for residue in structure[0]["A"]:
        if residue.seqid.num in (40, 41):
            for atom in residue:
                atom.altloc = "A"
        if residue.seqid.num == number:
            residue.remove_atom(lacking, "A")
    structure.setup_entities()
    model = read_model(structure)
    library = load_monomers(sorted(set(model.structure[0].get_all_residue_names())))
    restraints = build_restraints(model.structure, model.atoms, model.crystal, library)
    who = model.atoms.identity
    other, name = (41, "N") if number == 40 else (40, "C")
    (end,) = np.flatnonzero((who.sequence_number == other) & (who.atom_name == name)).tolist()
    partners = {int(i) for pair in restraints.bonds.index if end in pair for i in pair} - {end}
    assert {int(who.sequence_number[i]) for i in partners} == {other}


@pytest.mark.parametrize(("length", "free"), [(1.5, False), (2.1, True)])
def test_a_link_to_an_atom_that_has_all_its_bonds(length: float, free: bool) -> None:
    """As of a phosphorane in the making: longer than a bond it is drawn to no length, and no contact either."""
    structure = gemmi.read_structure(str(MODEL))
    (carbon,) = (r["C"][0] for r in structure[0]["A"] if r.seqid.num == 60)
    water = next(r for chain in structure[0] for r in chain if r.is_water())
    water[0].pos = carbon.pos + gemmi.Position(0.0, 0.0, length)
    link = gemmi.Connection()
    link.type, link.name = gemmi.ConnectionType.Covale, "odd"
    (peptide,) = (r for r in structure[0]["A"] if r.seqid.num == 60)
    of_water = next(chain.name for chain in structure[0] for r in chain if r.is_water())
    link.partner1 = gemmi.AtomAddress("A", peptide.seqid, peptide.name, "C")
    link.partner2 = gemmi.AtomAddress(of_water, water.seqid, water.name, "O")
    structure.connections.append(link)
    structure.setup_entities()
    model = read_model(structure)
    library = load_monomers(sorted(set(model.structure[0].get_all_residue_names())))
    restraints = build_restraints(model.structure, model.atoms, model.crystal, library)
    who = model.atoms.identity
    protein = (who.sequence_number == 60) & (who.atom_name == "C") & (who.residue_name != "HOH")
    pair = {int(np.flatnonzero(protein)[0]),
            int(np.flatnonzero((who.residue_name == "HOH") & (who.sequence_number == water.seqid.num))[0])}  # fmt: skip
    assert (pair in [set(row) for row in restraints.bonds.index.tolist()]) == (not free)
    (said,) = [note for note in restraints.notes if "probably by mistake" in note]
    assert ("its length where that is given here" in said) == free
    assert ("(2.10 Å)" in said) == free


def test_restraints_without_sigma_are_left_out_and_said(tmp_path: Path) -> None:
    text = next(EMBEDDED.rglob("ALA.cif")).read_text()
    (block,) = (block for block in gemmi.cif.read_string(text) if block.name == "comp_ALA")
    for kind, first in (("bond", ["N", "CA"]), ("angle", ["N", "CA", "C"])):
        table = block.find(f"_chem_comp_{kind}.", ["atom_id_1", "atom_id_2", "value_dist_esd"] if kind == "bond" else
                           ["atom_id_1", "atom_id_2", "atom_id_3", "value_angle_esd"])  # fmt: skip
        for row in table:
            if sorted(list(row)[:-1]) == sorted(first) and (kind == "bond" or row[1] == "CA"):
                row[len(row) - 1] = "0"
    block.write_file(str(tmp_path / "ALA.cif"))
    (tmp_path / "one.pdb").write_text(PEPTIDE)
    sound, lacking = build(tmp_path / "one.pdb"), build(tmp_path / "one.pdb", [tmp_path / "ALA.cif"])
    for kind in ("bonds", "angles"):
        assert len(getattr(lacking.restraints, kind).index) == len(getattr(sound.restraints, kind).index) - 1
    for what in ("1 bond", "1 angle"):
        said = f"{what} without a positive sigma in the dictionary is not restrained"
        (note,) = (note for note in lacking.restraints.notes if note == said)
        assert isinstance(note, Caution)
