"""Validation: torsions, clashes, outliers, density fit, and the tables made of them."""

from __future__ import annotations

import json
from collections import Counter

import gemmi
import numpy as np
import pytest
from synthetic import atoms_from, crystal

from arrayrefine.evaluation import Evaluated, evaluate_files, validate_files
from arrayrefine.example import DATA, MODEL
from arrayrefine.kernels.geometry import angle, bond, torsion
from arrayrefine.real_space.map_grids import map_grid
from arrayrefine.restraints import Restraints
from arrayrefine.selection import select
from arrayrefine.topology.polymers import residues_of
from arrayrefine.validation import Validation, validate, validate_model
from arrayrefine.validation.clashes import HYDROGEN_BOND, OVERLAP, find_clashes
from arrayrefine.validation.density_fit import correlations
from arrayrefine.validation.geometry import find_outliers
from arrayrefine.validation.top8000 import decoded, encoded, interpolated, percentiles, tables
from arrayrefine.validation.torsions import _side_chains, classify_backbone, classify_side_chains


@pytest.fixture(scope="module")
def example() -> Evaluated:
    return evaluate_files(MODEL, DATA)


@pytest.fixture(scope="module")
def found(example: Evaluated) -> Validation:
    return validate(example.problem, example.state, example.maps)


def ramachandran(kind: str, phi: float, psi: float) -> float:
    grid = percentiles(f"ramachandran/{kind}")
    return float(interpolated(grid, np.array([[phi, psi]]), -180.0, np.full(2, 360.0))[0])


def test_percentiles_survive_their_bytes() -> None:
    value = np.r_[0.0, np.geomspace(1e-6, 1.0, 1000)]
    back = decoded(encoded(value))
    assert back[0] == 0.0
    np.testing.assert_allclose(back[1:], value[1:], rtol=0.03)


@pytest.mark.parametrize(
    ("kind", "phi", "psi", "low", "high"),
    [
        ("general", -63.0, -42.0, 0.5, 1.0),  # the right-handed helix
        ("general", -120.0, 130.0, 0.2, 1.0),  # a sheet
        ("general", 57.0, 40.0, 0.02, 0.5),  # the left-handed helix: rare, but real
        ("general", 120.0, 120.0, 0.0, 0.0005),
        ("general", 0.0, 0.0, 0.0, 0.0005),
        ("glycine", 85.0, 5.0, 0.2, 1.0),
        ("glycine", 60.0, -140.0, 0.02, 1.0),
        ("trans-proline", -65.0, 145.0, 0.2, 1.0),
        ("trans-proline", -120.0, 130.0, 0.0, 0.001),  # the ring does not let it
        ("pre-proline", -63.0, -42.0, 0.02, 1.0),
        ("pre-proline", -90.0, 0.0, 0.0, 0.02),
        ("cis-proline", -80.0, 155.0, 0.2, 1.0),
        ("isoleucine-valine", -120.0, 130.0, 0.2, 1.0),
    ],
)
def test_where_the_plot_is_populated(kind: str, phi: float, psi: float, low: float, high: float) -> None:
    assert low <= ramachandran(kind, phi, psi) <= high
    assert ramachandran(kind, phi + 360.0, psi - 360.0) == pytest.approx(ramachandran(kind, phi, psi))


@pytest.mark.parametrize("kind", [name for name in tables() if name.startswith("ramachandran/")])
def test_favoured_is_where_98_of_100_residues_are(kind: str) -> None:
    """The grids are percentiles of a density: drawing from a density with these ranks puts 2 % below 0.02."""
    grid = percentiles(kind)
    assert grid.max() == pytest.approx(1.0, abs=0.03)
    assert 0.03 < (grid >= 0.02).mean() < 0.4
    assert (grid >= 0.0005).mean() > (grid >= 0.02).mean()


@pytest.mark.parametrize(
    ("name", "chi", "rotamer", "verdict"),
    [
        ("LEU", (-65.0, 174.0), "mt", "favoured"),
        ("LEU", (-177.0, 63.0), "tp", "favoured"),
        ("LEU", (-65.0, 20.0), None, "outlier"),
        ("VAL", (175.0,), "t", "favoured"),
        ("VAL", (120.0,), None, "outlier"),
        ("PHE", (-67.0, 99.0), "m-80", "favoured"),
        ("PHE", (-67.0, -81.0), "m-80", "favoured"),
        ("PHE", (-67.0, 99.0 - 360.0), "m-80", "favoured"),
        ("GLU", (-177.0, 178.0, 1.0), "tt0", "favoured"),
        ("GLU", (-177.0, 178.0, 181.0), "tt0", "favoured"),
        ("ARG", (-67.0, 180.0, -179.0, 177.0), "mtt180", "favoured"),
        ("ARG", (0.0, 0.0, 0.0, 90.0), None, "outlier"),
        ("LYS", (-67.0, 180.0, 180.0, 180.0), "mttt", "favoured"),
    ],
)
def test_rotamers(name: str, chi: tuple[float, ...], rotamer: str | None, verdict: str) -> None:
    side_chain = _side_chains(name, np.array([chi]))[0]
    assert side_chain.classified == verdict
    assert rotamer is None or side_chain.name == rotamer
    assert (side_chain.percentile is None) == (name in ("ARG", "LYS"))


def test_torsions_of_a_real_protein(example: Evaluated, found: Validation) -> None:
    atoms = example.state.atoms
    residues = residues_of(atoms)
    backbone = classify_backbone(atoms, example.problem.restraints.bonds.index, residues)
    by_key = {residue.key[0]: backbone[residue.number] for residue in residues if residue.number in backbone}
    assert by_key[1].phi is None  # the first residue has no phi, and no class
    assert by_key[1].classified is None
    assert by_key[96].kind == "glycine"
    assert abs(by_key[96].omega) < 30.0  # the cis peptide of dihydrofolate reductases
    assert by_key[20].kind == "pre-proline"
    assert by_key[21].kind == "trans-proline"
    assert by_key[2].kind == "isoleucine-valine"
    structure = gemmi.read_structure(str(MODEL))
    chain = structure[0]["A"]
    expected = gemmi.calculate_phi_psi(chain[41], chain[42], chain[43])
    now = by_key[chain[42].seqid.num]
    assert (now.phi, now.psi) == pytest.approx(np.degrees(expected), abs=0.1)
    totals = found.ramachandran
    assert totals["count"] == 157
    assert totals["percent"]["favoured"] > 95.0  # a good structure of 1.8 Å
    assert totals["outlier"] == 0
    side_chains = classify_side_chains(atoms, residues)
    assert Counter(s.classified for s in side_chains.values())["favoured"] > 0.8 * len(side_chains)
    first = next(r for r in residues if r.name == "ILE")
    assert len(side_chains[first.number].chi) == 2


def test_a_mirrored_backbone_is_an_outlier(example: Evaluated) -> None:
    """The mirror image turns phi and psi around, which hardly any residue but glycine can bear."""
    atoms = example.state.atoms
    mirrored = atoms.replace(xyz=atoms.xyz * [1.0, 1.0, -1.0])
    classes = classify_backbone(mirrored, example.problem.restraints.bonds.index, residues_of(atoms))
    count = Counter((row.kind == "glycine", row.classified) for row in classes.values() if row.classified)
    assert count[False, "outlier"] > 0.5 * sum(n for (glycine, _), n in count.items() if not glycine)
    assert count[True, "outlier"] <= 2  # symmetric grid


def test_clashes_are_overlaps_that_no_bond_explains(example: Evaluated) -> None:
    atoms, r, crystal = example.state.atoms, example.problem.restraints, example.problem.reflections.crystal
    clashes = find_clashes(atoms, r.bonds, r.non_bonded, crystal)
    assert 30 < len(clashes) < 100
    assert clashes.score == pytest.approx(1000.0 * len(clashes) / (atoms.occupancy > 0).sum())
    assert (clashes.overlap >= OVERLAP).all()
    assert (np.diff(clashes.overlap) <= 0).all()
    edges = np.vstack([r.bonds.index, np.column_stack([atoms.riding.child, atoms.riding.parent])])
    neighbours: dict[int, set[int]] = {}
    for a, b in edges.tolist():
        neighbours.setdefault(a, set()).add(b)
        neighbours.setdefault(b, set()).add(a)
    assert any(clashes.symmetry)
    for i, j, distance, operator in zip(clashes.i, clashes.j, clashes.distance, clashes.symmetry):
        place = crystal.fractional(atoms.xyz[j])
        if operator is None:
            reached = {int(i)}
            for _ in range(3):
                reached |= set().union(*(neighbours.get(a, set()) for a in reached))
            assert int(j) not in reached
        else:
            place = np.array(gemmi.Op(operator).apply_to_xyz(place.tolist()))
        assert np.linalg.norm(crystal.cartesian(place) - atoms.xyz[i]) == pytest.approx(distance, abs=1e-3)
    names = {(atoms.identity.atom_name[i], atoms.identity.atom_name[j]) for i, j in zip(clashes.i, clashes.j)}
    assert not {("H", "O"), ("O", "H")} & names  # hydrogen bonds of the backbone


def test_a_clash_that_is_made_is_found_and_hydrogen_bonds_are_none(example: Evaluated) -> None:
    atoms, r, crystal = example.state.atoms, example.problem.restraints, example.problem.reflections.crystal
    waters = np.flatnonzero(select(atoms, "water"))
    methyl = int(np.flatnonzero(select(atoms, "resname ALA and name CB and 6"))[0])
    oxygen = int(np.flatnonzero(select(atoms, "name O and 6"))[0])

    def pairs(target: int, distance: float) -> set[tuple[int, int]]:
        away = atoms.xyz[target] - atoms.xyz[~atoms.is_hydrogen].mean(axis=0)
        xyz = atoms.xyz.copy()
        xyz[waters[0]] = atoms.xyz[target] + distance * away / np.linalg.norm(away)
        clashes = find_clashes(atoms.replace(xyz=xyz), r.bonds, r.non_bonded, crystal)
        return set(zip(clashes.i.tolist(), clashes.j.tolist()))

    near, bonded = (methyl, int(waters[0])), (oxygen, int(waters[0]))
    assert near in pairs(methyl, 2.6)  # 1.70 + 1.40 Å less 0.4
    assert near not in pairs(methyl, 2.75)
    assert bonded not in pairs(oxygen, 2.8 - OVERLAP - HYDROGEN_BOND + 0.05)
    assert bonded in pairs(oxygen, 2.8 - OVERLAP - HYDROGEN_BOND - 0.05)


def test_outliers_say_what_is_wrong(example: Evaluated) -> None:
    atoms, restraints = example.state.atoms, example.problem.restraints
    n = int(atoms.identity.residue.max()) + 1
    moved = int(np.flatnonzero(select(atoms, "name CA and 100"))[0])
    xyz = atoms.xyz.copy()
    xyz[moved] += [0.0, 0.6, 0.0]
    outliers, worst, counts = find_outliers(atoms.replace(xyz=xyz), restraints, n)
    assert moved in outliers[0].atoms
    assert worst[atoms.identity.residue[moved]] == pytest.approx(abs(outliers[0].z))
    assert sum(kind["outliers"] for kind in counts.values()) == len(outliers)
    assert counts["bond"]["count"] == len(restraints.bonds.index)
    named = [[atoms.identity.label(i) for i in o.atoms] for o in outliers if o.kind == "torsion"]
    assert named
    assert not [labels for labels in named if all("/PRO " in label for label in labels)]
    nothing, one = np.zeros(1), np.ones(1)
    measure = {
        "bond": lambda index: bond(xyz, index, nothing, one)[0],
        "angle": lambda index: angle(xyz, index, nothing, one)[0],
        "torsion": lambda index: torsion(xyz, index, nothing, one, np.ones(1, dtype=np.int64))[0],
    }
    assert set(measure) < {outlier.kind for outlier in outliers}
    for outlier in outliers:
        assert outlier.value - outlier.ideal == pytest.approx(outlier.z * outlier.sigma, abs=1e-9)
        if outlier.kind in measure:
            now = measure[outlier.kind](np.array([outlier.atoms]))[0]
            assert (outlier.value - now + 180.0) % 360.0 == pytest.approx(180.0, abs=1e-6)


def test_density_fit_against_its_definition(example: Evaluated) -> None:
    atoms, crystal = example.state.atoms, example.problem.reflections.crystal
    best, model = (map_grid(example.maps, crystal, kind) for kind in ("2mFo-DFc", "Fc"))
    chosen = select(atoms, "30 and not hydrogen")
    group = np.where(chosen, 1, np.where(select(atoms, "31 and not hydrogen"), 0, -1))
    value = correlations(best, model, atoms.xyz, group, 3, 1.4)
    assert np.isnan(value[2])
    shape = np.array(best.values.shape)
    inside = np.zeros(best.values.shape, dtype=bool)
    points = np.stack(np.meshgrid(*(np.arange(k) / k for k in shape), indexing="ij"), axis=-1).reshape(-1, 3)
    for place in crystal.fractional(atoms.xyz[chosen]):
        delta = points - place
        delta -= np.rint(delta)
        inside |= (((delta @ crystal.orth.T) ** 2).sum(axis=1) <= 1.4**2).reshape(shape)
    assert value[1] == pytest.approx(np.corrcoef(best.values[inside], model.values[inside])[0, 1], abs=1e-6)


def test_tables_of_a_real_crystal(example: Evaluated, found: Validation) -> None:
    rows = {row.label: row for row in found.residues}
    assert Counter(row.kind for row in found.residues) == {"protein": 159, "water": 153, "ion": 2, "ligand": 2}
    leu = rows["A 8 LEU"]
    assert leu.rscc > 0.9
    assert leu.rscc_main > leu.rscc_side > 0.8
    assert leu.rotamer == "outlier"
    assert leu.chi[1] == pytest.approx(36.8, abs=1.0)
    assert leu.worst_z > 9.0
    assert rows["A 161 FOL"].ramachandran is None
    assert rows["A 300 MN"].density > 4.0
    assert rows["A 444 HOH"].rscc < 0.5  # B of 54 Å², and no density
    assert sum(row.clashes for row in found.residues) == 2 * len(found.clashes)
    assert found.outliers[0].atoms == ("A 102 GLN CD", "A 102 GLN NE2")
    assert any(peak.atom.endswith("alt A") for peak in found.peaks)
    content = found.as_dict()
    again = json.loads(json.dumps(content, allow_nan=False))
    assert again["schema"] == "arrayrefine.validation/1"
    assert again["clashscore"] == pytest.approx(found.clashscore, rel=1e-5)
    assert again["residues"][7]["name"] == "LEU"
    assert {"residues", "ramachandran", "rotamers", "clashes", "outliers", "peaks", "blobs"} <= set(again)


def test_a_notebook_shows_what_counts(found: Validation) -> None:
    shown = found._repr_html_()
    assert f"validation of {len(found.residues)} residues" in shown
    counts = found.ramachandran
    assert f"{counts['favoured']} / {counts['allowed']} / {counts['outlier']}" in shown
    assert "clashes" in shown


def test_without_data_the_geometry_is_the_same(example: Evaluated) -> None:
    alone, notes = validate_files(MODEL)
    assert all(row.rscc is None and row.density is None for row in alone.residues)
    assert not alone.peaks
    assert any("hydrogens added" in note for note in notes)
    with_data = validate_model(
        example.state.atoms, example.problem.restraints, example.problem.reflections.crystal
    )  # fmt: skip
    assert alone.ramachandran == with_data.ramachandran
    assert [o.atoms for o in alone.outliers[:20]] == [o.atoms for o in with_data.outliers[:20]]
    assert alone.clashscore == pytest.approx(with_data.clashscore, rel=0.05)


def test_a_residue_of_hydrogens_alone_has_no_row() -> None:
    xyz = np.array([[1.0, 1.0, 1.0], [5.0, 5.0, 5.0], [9.0, 9.0, 9.0]])
    atoms = atoms_from(xyz, ["C", "H", "O"], np.full(3, 20.0), np.ones(3))
    found = validate_model(atoms, Restraints.none(3), crystal("P 1"))
    assert [row.seqid for row in found.residues] == ["1", "3"]
