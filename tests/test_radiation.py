"""Electrons and neutrons: form factors, what is taken for granted of hydrogens, and a real crystal."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from types import ModuleType

import gemmi
import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine import example
from arrayrefine.errors import InputError
from arrayrefine.io.models.reading import Model, read_model
from arrayrefine.io.reflections.reading import read_reflections
from arrayrefine.options import Options, RidingHydrogens
from arrayrefine.rebuilding.overlaps import Overlaps
from arrayrefine.scattering.form_factors import METHODS, Radiation, form_factors, scattering
from arrayrefine.scattering.radiation import chosen_radiation, with_hydrogens_for, with_radiation
from arrayrefine.scattering.sampling import Errors
from arrayrefine.state import evaluate
from arrayrefine.structure_factors import StructureFactors
from arrayrefine.wording import kind_of

S_SQUARED = np.linspace(0.0, 1.5, 7)
CALCULATORS: dict[Radiation, type] = {
    "electron": gemmi.StructureFactorCalculatorE, "neutron": gemmi.StructureFactorCalculatorN
}  # fmt: skip


@pytest.mark.parametrize("radiation", ["electron", "neutron"])
def test_form_factors_are_those_of_gemmi(radiation: Radiation) -> None:
    unique, index, coefficients = form_factors(["O", "C", "D", "H", "Zn", "C"], radiation)
    assert unique[index].tolist() == ["O", "C", "D" if radiation == "neutron" else "H", "H", "Zn", "C"]
    tables = [getattr(gemmi.Element(str(e)), "c4322" if radiation == "electron" else "neutron92") for e in unique]
    expected = [[table.calculate_sf(s / 4.0) for s in S_SQUARED] for table in tables]
    np.testing.assert_allclose(scattering(coefficients, S_SQUARED), expected, rtol=1e-6)


def test_hydrogen_and_deuterium_scatter_neutrons_with_opposite_signs() -> None:
    unique, _, coefficients = form_factors(["H", "D"], "neutron")
    lengths = dict(zip(unique.tolist(), scattering(coefficients, [0.3])[:, 0]))
    assert lengths["H"] == pytest.approx(-3.739, abs=1e-3)
    assert lengths["D"] == pytest.approx(6.671, abs=1e-3)


@pytest.mark.parametrize("radiation", ["electron", "neutron"])
def test_an_element_without_form_factor_is_refused(radiation: Radiation) -> None:
    with pytest.raises(InputError, match=f"element 'X' has no .*{radiation}s"):
        form_factors(["C", "X"], radiation)


@pytest.fixture(scope="module")
def crystal_in_d2o(request: pytest.FixtureRequest) -> Path:
    """1V9G: Z-DNA, neutrons, partly exchanged."""
    found: Path = request.getfixturevalue("case")("1v9g")
    return found


@pytest.mark.parametrize("radiation", ["electron", "neutron"])
@pytest.mark.parametrize("method", ["fft", "direct"])
def test_f_calc_is_that_of_gemmi(crystal_in_d2o: Path, radiation: Radiation, method: str) -> None:
    model = read_model(crystal_in_d2o / "model.cif")
    hkl = _some_hkl(model)
    plan = StructureFactors(
        model.crystal, hkl, model.atoms, method=method, accuracy=1e-4, precision="double", radiation=radiation  # type: ignore[arg-type]
    )
    calculator = CALCULATORS[radiation](model.structure.cell)
    model.structure.spacegroup_hm = model.crystal.space_group
    expected = np.array([calculator.calculate_sf_from_model(model.structure[0], one.tolist()) for one in hkl])
    found = plan(model.atoms)
    assert np.linalg.norm(found - expected) < 3e-4 * np.linalg.norm(expected)


def _some_hkl(model: Model) -> np.ndarray:
    made = gemmi.make_miller_array(model.structure.cell, model.crystal.gemmi_space_group, 2.0)
    return np.asarray(made, dtype=np.int32)[::7]


@pytest.mark.parametrize("radiation", ["electron", "neutron"])
@pytest.mark.parametrize("method", ["fft", "direct"])
def test_gradients_follow_the_differences(crystal_in_d2o: Path, radiation: Radiation, method: str) -> None:
    """Hydrogens among them, whose neutron scattering is negative."""
    model = read_model(crystal_in_d2o / "model.cif")
    hkl, atoms = _some_hkl(model), model.atoms
    plan = StructureFactors(
        model.crystal, hkl, atoms, method=method, accuracy=1e-6, precision="double", radiation=radiation  # type: ignore[arg-type]
    )
    rng = np.random.default_rng(3)
    by_f = rng.normal(size=len(hkl)) + 1j * rng.normal(size=len(hkl))
    gradient = plan.pullback(by_f, atoms)
    rows = np.concatenate([np.flatnonzero(atoms.element == e)[:2] for e in ("H", "D", "P", "O")])
    assert len(rows) == 8
    for row in rows.tolist():
        for name, step in (("xyz", 1e-3), ("b_iso", 1e-2), ("occupancy", 1e-3)):
            shift = np.zeros_like(getattr(atoms, name))
            shift[(row, 0) if name == "xyz" else row] = step
            plus, minus = (
                float(np.real(np.conj(by_f) @ plan(atoms.replace(**{name: getattr(atoms, name) + sign * shift}))))
                for sign in (1.0, -1.0)
            )
            found = getattr(gradient, name)[(row, 0) if name == "xyz" else row]
            scale = np.abs(getattr(gradient, name)).max()
            assert found == pytest.approx((plus - minus) / (2.0 * step), abs=2e-4 * scale), (name, row)


def _model_of(method: str) -> Model:
    model = read_model(example.MODEL)
    structure = model.structure.clone()
    structure.info["_exptl.method"] = method
    return dataclasses.replace(model, structure=structure)


@pytest.mark.parametrize(
    ("asked", "header", "expected", "told"),
    [
        ("auto", "X-RAY DIFFRACTION", "xray", ""),
        ("auto", "", "xray", ""),
        ("auto", "NEUTRON DIFFRACTION", "neutron", "warning: the header of the model says NEUTRON DIFFRACTION"),
        ("auto", "ELECTRON CRYSTALLOGRAPHY", "electron", "warning: the header of the model says ELECTRON CRYST"),
        ("auto", "X-RAY DIFFRACTION; NEUTRON DIFFRACTION", "xray", "for data of neutrons give --radiation neutron"),
        ("auto", "ELECTRON MICROSCOPY", "xray", ""),  # placed in a crystal since
        ("auto", "SOLUTION NMR", "xray", ""),
        ("xray", "NEUTRON DIFFRACTION", "xray", ""),
        ("neutron", "X-RAY DIFFRACTION; NEUTRON DIFFRACTION", "neutron", "note: atoms scatter by their coherent"),
        ("auto", "ELECTRON DIFFRACTION", "electron", "warning: the header of the model says ELECTRON DIFFRACTION"),
        ("auto", "NEUTRON DIFFRACTION; ELECTRON CRYSTALLOGRAPHY", "electron", "of neutrons give --radiation neutron"),
        ("electron", "", "electron", "note: the form factors are those of electrons"),
    ],
)
def test_the_header_says_what_is_not_asked(asked: str, header: str, expected: str, told: str) -> None:
    radiation, notes = chosen_radiation(asked, _model_of(header))
    assert radiation == expected
    assert bool(notes) == bool(told)
    assert told in " ".join(f"{kind_of(note)}: {note}" for note in notes)


def test_what_reflections_know_stays(crystal_in_d2o: Path) -> None:
    model = _model_of("X-RAY DIFFRACTION")
    reflections, _ = read_reflections(example.DATA, model.crystal)
    told = dataclasses.replace(reflections, radiation="neutron")
    assert with_radiation(told, "auto", model)[0].radiation == "neutron"
    assert with_radiation(told, "electron", model)[0].radiation == "electron"
    assert with_radiation(reflections, "auto", model)[0].radiation == "xray"


@pytest.mark.parametrize(
    ("radiation", "has", "hydrogens", "distance"),
    [
        ("xray", True, "add", "electron"),
        ("electron", True, "add", "nucleus"),
        ("neutron", True, "refine", "nucleus"),
        ("neutron", False, "add", "nucleus"),
    ],
)
def test_what_is_auto_of_hydrogens(
    crystal_in_d2o: Path, radiation: Radiation, has: bool, hydrogens: str, distance: str
) -> None:
    atoms = read_model(crystal_in_d2o / "model.cif" if has else example.MODEL).atoms
    options, notes = with_hydrogens_for(Options(), radiation, atoms)
    assert (options.hydrogens, options.riding.distance) == (hydrogens, distance)
    assert bool(notes) == (radiation == "neutron" and not has)
    asked = Options(hydrogens="strip", riding=RidingHydrogens(distance="electron"))
    options, notes = with_hydrogens_for(asked, radiation, atoms)
    assert (options.hydrogens, options.riding.distance) == ("strip", "electron")
    assert ("there are none" in " ".join(notes)) == (radiation == "neutron")


def test_a_real_crystal_of_neutron_data(crystal_in_d2o: Path, tmp_path: Path) -> None:
    """The header tells; with the form factors of X-rays R-free ends above 0.4."""
    model, data = crystal_in_d2o / "model.cif", crystal_in_d2o / "norm.mtz"
    result = ar.refine(model, data, Options(cycles=4))
    assert result.report.final.r_free < 0.34
    assert result.report.final.r_work < 0.24  # 0.25 where hydrogens ride
    result.write(tmp_path)
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["data"]["radiation"] == "neutron"
    assert "228 hydrogens of the model are refined like other atoms" in content["warnings"]
    assert "NEUTRON DIFFRACTION" in (tmp_path / "refined.pdb").read_text()
    block = gemmi.cif.read(str(tmp_path / "refined.cif")).sole_block()
    assert block.find_value("_exptl.method") == "'NEUTRON DIFFRACTION'"
    assert block.find_value("_refine.pdbx_refine_id") == "'NEUTRON DIFFRACTION'"
    for path in (tmp_path / "refined.cif", crystal_in_d2o / "shaken.pdb"):
        assert chosen_radiation("auto", read_model(path))[0] == "neutron"
    before, after = (read_model(path).atoms for path in (model, tmp_path / "refined.cif"))
    for element in ("H", "D"):
        assert (after.element == element).sum() == (before.element == element).sum()
    page = result.write_report(tmp_path).read_text()
    assert re.search("Measured with.{,80}neutrons", page, re.DOTALL)


def test_hydrogens_are_held_at_their_nuclei(crystal_in_d2o: Path) -> None:
    """By the dictionary's distances to nuclei, of heavy water by those of water; for X-rays by those to electrons."""
    said = {}
    for radiation in ("xray", "neutron"):
        options = Options(radiation=radiation, hydrogens="refine")  # type: ignore[arg-type]
        _, problem, atoms, notes = ar.prepare(crystal_in_d2o / "model.cif", crystal_in_d2o / "norm.mtz", options)
        assert not len(atoms.riding)
        assert "228 hydrogens of the model are refined like other atoms" in notes
        bonds, element = problem.restraints.bonds, atoms.element
        one = atoms.is_hydrogen[bonds.index]
        assert one.sum() == 228
        parent = np.where(one[:, 0], element[bonds.index[:, 1]], element[bonds.index[:, 0]])[one.any(axis=1)]
        ideal = bonds.ideal[one.any(axis=1)]
        said[radiation] = {e: (ideal[parent == e].min(), ideal[parent == e].max()) for e in ("C", "N", "O")}
    for element, electron, nucleus in (("C", 0.98, 1.09), ("N", 0.9, 1.02), ("O", 0.85, 0.97)):
        assert said["xray"][element] == pytest.approx((electron, electron), abs=0.06)
        assert said["neutron"][element] == pytest.approx((nucleus, nucleus), abs=0.02)


def test_shares_of_deuterium_are_refined(crystal_in_d2o: Path) -> None:
    """H and D of one place add up to one, each place for itself; all in equal parts at the start, they come back."""
    structure = gemmi.read_structure(str(crystal_in_d2o / "model.cif"))
    given = {}
    for chain in structure[0]:
        for residue in chain:
            if any(site.altloc != "\0" and not site.is_hydrogen() for site in residue):
                continue
            for site in residue:
                if site.altloc != "\0" and residue.name == "DG":
                    given[f"{chain.name}/DG {residue.seqid}/{site.name}.{site.altloc}"] = site.occ
                    site.occ = 0.5
    assert len(given) == 10
    data = crystal_in_d2o / "norm.mtz"
    result = ar.refine(structure, data, Options(cycles=3, targets=("xyz+b", "occupancy")))
    found = {row["name"]: row for row in result.report.occupancies if row["name"] in given}
    assert set(found) == set(given)
    assert all(row["start"] == 0.5 for row in found.values())
    alternatives = {row["alternative"] for row in found.values()}
    assert len(alternatives) == 5
    for one in alternatives:
        assert sum(row["final"] for row in found.values() if row["alternative"] == one) == pytest.approx(1.0)
    before, after = (np.array([values[name] for name in given]) for values in (
        given, {name: row["final"] for name, row in found.items()}
    ))  # fmt: skip
    assert np.abs(after - before).max() < 0.3
    assert np.corrcoef(before, after)[0, 1] > 0.8
    kept = ar.refine(structure, data, Options(cycles=1, targets=("occupancy",), hydrogens="keep"))
    assert not [row for row in kept.report.occupancies if row["name"] in given]


def test_no_hydrogens_to_refine() -> None:
    options = Options(hydrogens="refine", d_min=3.0)
    _, _, atoms, notes = ar.prepare(example.MODEL, example.DATA, options)
    assert not len(atoms.riding)
    assert [kind_of(note) for note in notes if "--hydrogens refine has no effect" in note] == ["warning"]


def test_hydrogens_added_for_neutrons_may_be_deuterium(crystal_in_d2o: Path, tmp_path: Path) -> None:
    said = {}
    for which in ("none", "exchangeable", "all"):
        options = Options(radiation="neutron", hydrogens="add", riding=RidingHydrogens(deuterium=which))  # type: ignore[arg-type]
        _, _, atoms, notes = ar.prepare(crystal_in_d2o / "model.cif", crystal_in_d2o / "norm.mtz", options)
        added = atoms.riding.child
        assert len(added) > 100
        parent = atoms.element[atoms.riding.parent]
        expected = {"none": parent == "?", "exchangeable": np.isin(parent, ("N", "O", "S")), "all": parent != "?"}
        np.testing.assert_array_equal(atoms.element[added] == "D", expected[which])
        names = atoms.identity.atom_name[added]
        assert (np.char.startswith(names, "D") == (atoms.element[added] == "D")).all()
        said[which] = " ".join(notes)
    assert "all of them H" in said["none"]
    assert "D on N, O and S, H elsewhere" in said["exchangeable"]


@pytest.mark.parametrize("method", ["xray", "electron", "neutron"])
@pytest.mark.parametrize("header", [METHODS["xray"], METHODS["neutron"], "X-RAY DIFFRACTION; NEUTRON DIFFRACTION", ""])
@pytest.mark.parametrize("kind", ["pdb", "cif"])
def test_output_says_what_was_asked_for(tmp_path: Path, method: Radiation, header: str, kind: str) -> None:
    """1RX2, as if it were of something else: what is written is read as that, whatever the header said."""
    structure = gemmi.read_structure(str(example.MODEL))
    structure.info["_exptl.method"] = header
    path = tmp_path / f"model.{kind}"
    if kind == "pdb":
        structure.write_pdb(str(path))
    else:
        structure.setup_entities()
        document = structure.make_mmcif_document()
        if header:
            loop = document.sole_block().init_loop("_exptl.", ["entry_id", "method"])
            for one in header.split("; "):
                loop.add_row(["1RX2", gemmi.cif.quote(one)])
        document.write_file(str(path))
    options = Options(cycles=0, d_min=4.5, radiation=method, report=False, hydrogens="strip")
    result = ar.refine(path, example.DATA, options)
    result.write(tmp_path)
    for name in ("refined.cif", "refined.pdb"):
        assert chosen_radiation("auto", read_model(tmp_path / name))[0] == method
    block = gemmi.cif.read(str(tmp_path / "refined.cif")).sole_block()
    assert {gemmi.cif.as_string(one) for one in block.find_values("_refine.pdbx_refine_id")} == {METHODS[method]}


def test_hydrogens_added_for_neutrons_are_written(tmp_path: Path) -> None:
    """Nobody finds again which of them are H and which D."""
    riding = RidingHydrogens(deuterium="exchangeable")
    options = Options(cycles=0, d_min=4.0, radiation="neutron", report=False, riding=riding)
    result = ar.refine(example.MODEL, example.DATA, options)
    result.write(tmp_path)
    for name in ("refined.cif", "refined.pdb"):
        element = read_model(tmp_path / name).atoms.element
        assert (element == "D").sum() > 200
        assert (element == "H").sum() > 800


def test_what_neutrons_alone_have_no_effect_elsewhere() -> None:
    """Deuterium with X-rays or where nothing is added; waters without their hydrogens."""
    atoms = read_model(example.MODEL).atoms
    asked = Options(riding=RidingHydrogens(deuterium="all"), waters="add")
    for radiation, hydrogens, said in (
        ("xray", "auto", "the data are not of neutrons"), ("neutron", "keep", "no hydrogens are added"),
        ("neutron", "add", ""),
    ):  # fmt: skip
        options, notes = with_hydrogens_for(dataclasses.replace(asked, hydrogens=hydrogens), radiation, atoms)  # type: ignore[arg-type]
        assert [note for note in notes if "--riding.deuterium has no effect" in note] == (
            [f"--riding.deuterium has no effect: {said}"] if said else []
        )
        assert options.riding.deuterium == ("none" if said else "all")
        assert any("--waters add puts O alone" in note for note in notes) == (radiation == "neutron")


def test_a_target_says_what_its_hydrogens_are() -> None:
    options = Options(radiation="neutron", d_min=4.0)
    target = ar.target(example.MODEL, example.DATA, options, hydrogens="riding")
    assert any("neutrons see hydrogens as well as other atoms: all of them H" in note for note in target.notes)


def test_command_line(crystal_in_d2o: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from arrayrefine.__main__ import main

    files = [str(crystal_in_d2o / name) for name in ("model.cif", "norm.mtz")]
    main(["validate", *files, "--radiation", "xray", "--out", str(tmp_path / "one.json")])
    main(["validate", *files, "--out", str(tmp_path / "two.json")])
    said = capsys.readouterr().out
    assert said.count("the header of the model says NEUTRON DIFFRACTION") == 1
    r_work = [json.loads((tmp_path / name).read_text())["r_work"] for name in ("one.json", "two.json")]
    assert r_work[1] < r_work[0] - 0.05


def test_waters_with_hydrogens_before_other_atoms_do_not_shift_parents(crystal_in_d2o: Path) -> None:
    """gemmi takes the hydrogens of waters off when it adds others; the second strand comes after such waters."""
    _, _, atoms, _ = ar.prepare(crystal_in_d2o / "model.cif", crystal_in_d2o / "norm.mtz", Options(hydrogens="add"))
    child, parent, who = atoms.riding.child, atoms.riding.parent, atoms.identity
    assert len(child) > 100
    assert np.linalg.norm(atoms.xyz[child] - atoms.xyz[parent], axis=1).max() < 1.2
    np.testing.assert_array_equal(who.residue[child], who.residue[parent])
    assert np.isin(who.residue_name[atoms.is_hydrogen], "DOD").any()


@pytest.mark.parametrize("radiation", ["electron", "neutron"])
@pytest.mark.parametrize("method", ["fft", "direct"])
def test_the_device_computes_the_same(
    emulated_cuda: ModuleType, crystal_in_d2o: Path, radiation: Radiation, method: str
) -> None:
    model = read_model(crystal_in_d2o / "model.cif")
    hkl, atoms = _some_hkl(model)[::3], model.atoms
    plans = [
        StructureFactors(
            model.crystal, hkl, atoms, method=method, precision="double", radiation=radiation, device=device  # type: ignore[arg-type]
        )
        for device in ("cpu", "cuda")
    ]
    f_calc = [plan(atoms) for plan in plans]
    assert np.linalg.norm(f_calc[1] - f_calc[0]) < 3e-3 * np.linalg.norm(f_calc[0])
    by_f = f_calc[0] / np.abs(f_calc[0])
    gradients = [plan.pullback(by_f, atoms) for plan in plans]
    for name in ("xyz", "b_iso", "occupancy"):
        one, two = (getattr(gradient, name) for gradient in gradients)
        assert np.linalg.norm(two - one) < 1e-2 * np.linalg.norm(one)


def test_what_is_reckoned_with_carbon_is_reckoned_with_that_radiation(crystal_in_d2o: Path) -> None:
    """The errors of a grid, and how sharp an atom is seen: nuclei scatter alike at all resolutions."""
    model = read_model(crystal_in_d2o / "model.cif")
    carbon = {kind: Errors(model.crystal, _some_hkl(model), radiation=kind)._carbon for kind in ("xray", "neutron")}  # type: ignore[arg-type]
    assert np.ptp(carbon["neutron"]) == 0.0
    assert np.ptp(carbon["xray"]) > 1.0
    table = {}
    for kind in ("xray", "neutron"):
        options = Options(radiation=kind, anisotropic="none", tls=("none",), hydrogens="refine")  # type: ignore[arg-type]
        _, problem, atoms, _ = ar.prepare(crystal_in_d2o / "model.cif", crystal_in_d2o / "norm.mtz", options)
        overlaps = Overlaps(evaluate(problem, atoms).xray, atoms)
        width = overlaps(np.array([0.0, 0.7]), np.array([20.0, 20.0]))
        table[kind] = width[1] / width[0]
    assert table["neutron"] < table["xray"] - 0.02  # sharper
