"""Models brought to their restraints without data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine import __main__ as cli
from arrayrefine.evaluation import geometry_of_file
from arrayrefine.example import MODEL
from arrayrefine.targets.tether import Tether

Case = Callable[[str], Path]


@pytest.fixture(scope="module")
def example() -> ar.Regularised:
    """The embedded example, as it is by default."""
    return ar.regularise(MODEL)


def _places(path: Path) -> dict[tuple[str, str, str, str], np.ndarray]:
    """Atoms other than hydrogens by who they are."""
    return {
        (chain.name, str(residue.seqid), atom.name, atom.altloc): np.array(atom.pos.tolist())
        for chain in gemmi.read_structure(str(path))[0]
        for residue in chain
        for atom in residue
        if not atom.is_hydrogen()
    }


def _rms(one: dict, two: dict) -> float:
    return float(np.sqrt(np.mean([np.sum((one[who] - two[who]) ** 2) for who in one])))


def test_the_pull_is_that_of_its_gradient_and_curvature() -> None:
    atoms = ar.read_model(MODEL).atoms
    pull = Tether.at(atoms, 0.3)
    rng = np.random.default_rng(3)
    moved = atoms.replace(xyz=atoms.xyz + rng.normal(0.0, 0.2, atoms.xyz.shape))
    along = rng.normal(size=atoms.xyz.shape)

    def value(step: float) -> float:
        return pull(moved.replace(xyz=moved.xyz + step * along))[0]

    slope = (value(1e-3) - value(-1e-3)) / 2e-3  # exact for a square
    np.testing.assert_allclose(np.vdot(pull(moved)[1].xyz, along), slope, rtol=1e-9)
    more = pull(moved.replace(xyz=moved.xyz + along))[1].xyz - pull(moved)[1].xyz
    np.testing.assert_allclose(more, pull.curvature.xyz * along, atol=1e-12)
    assert pull(atoms)[0] == 0.0
    assert Tether.at(atoms, np.inf)(moved)[0] == 0.0


@pytest.mark.parametrize("name", ["1aba", "1ehz"])
def test_a_shaken_model_comes_nearer_to_what_it_was(case: Case, tmp_path: Path, name: str) -> None:
    folder = case(name)
    found = ar.regularise(folder / "shaken.pdb")
    found.write(tmp_path)
    assert not found.stopped
    rows = {row.kind: row for row in found.agreement}
    assert rows["bond"].before > 10.0 > 0.3 > rows["bond"].after
    assert rows["angle"].before > 5.0 > 0.7 > rows["angle"].after
    assert found.after.clashscore < 5.0 < found.before.clashscore
    shaken, was = _places(folder / "shaken.pdb"), _places(folder / "model.pdb")
    for file in ("regularised.pdb", "regularised.cif"):
        now = _places(tmp_path / file)
        assert now.keys() == shaken.keys()
        assert _rms(now, was) < 0.9 * _rms(shaken, was)  # 0.197 -> 0.165, 0.200 -> 0.147 Å
    np.testing.assert_allclose(_rms(_places(tmp_path / "regularised.cif"), shaken), found.rms_shift, atol=2e-3)


def _same_but_for_places(one: gemmi.Structure, two: gemmi.Structure) -> None:
    for old, new in zip(one[0].all(), two[0].all(), strict=True):
        assert (old.chain.name, str(old.residue.seqid), old.residue.name, old.atom.name, old.atom.altloc) == (
            new.chain.name, str(new.residue.seqid), new.residue.name, new.atom.name, new.atom.altloc,
        )  # fmt: skip
        values = [
            (x.atom.b_eq() if x.atom.aniso.nonzero() else x.atom.b_iso, x.atom.occ, *x.atom.aniso.elements_pdb())
            for x in (old, new)
        ]
        np.testing.assert_allclose(*values, atol=6e-3)


def test_nothing_but_coordinates_changes_and_old_statistics_are_left_out(
    example: ar.Regularised, tmp_path: Path
) -> None:
    example.write(tmp_path)
    _same_but_for_places(gemmi.read_structure(str(MODEL)), gemmi.read_structure(str(tmp_path / "regularised.cif")))
    lines = (tmp_path / "regularised.pdb").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("REMARK   3")] == [
        "REMARK   3 ", f"REMARK   3 MOVED WITHOUT DATA BY ARRAYREFINE {ar.__version__}".upper(),
    ]  # fmt: skip
    assert any(line.startswith("REMARK 200") for line in lines)  # how the data were measured is as true as before
    again = ar.regularise(tmp_path / "regularised.cif")
    assert again.rms_shift < 0.5 * example.rms_shift  # what is left goes on from its new place


def test_categories_of_mmcif_stay_but_for_those_that_judge_the_old_model(case: Case, tmp_path: Path) -> None:
    path = case("6mw0") / "model.cif"
    found = ar.regularise(path)
    found.write(tmp_path)
    assert found.model.atoms.u_aniso.any()
    _same_but_for_places(gemmi.read_structure(str(path)), gemmi.read_structure(str(tmp_path / "regularised.cif")))
    old, new = (gemmi.cif.read(str(p)).sole_block() for p in (path, tmp_path / "regularised.cif"))
    names, left = set(old.get_mmcif_category_names()), set(new.get_mmcif_category_names())
    assert {"_refine.", "_refine_hist.", "_exptl.", "_diffrn.", "_reflns."} <= names
    judge = ("_refine", "_pdbx_refine.", "_pdbx_validate_")
    assert names - left == {name for name in names if name.startswith(judge)}
    rows = [tuple(row.str(k) for k in range(2)) for row in new.find("_software.", ["name", "classification"])]
    assert ("arrayrefine", "model building") in rows


def test_what_is_frozen_stays_and_a_longer_tether_lets_more_go() -> None:
    held = ar.regularise(MODEL, ar.Options(freeze=("xyz: resname FOL,NAP", "xyz: water")))
    who = held.atoms.identity
    frozen = np.isin(who.residue_name, ["FOL", "NAP", "HOH"])
    assert frozen.any()
    assert not held.shift[frozen].any()
    free = ar.regularise(MODEL, tether=0.0)
    assert free.shift[~frozen].mean() > 2.0 * held.shift[~frozen].mean()
    assert free.as_dict()["tether"] is None
    bond = {row.kind: row.after for row in free.agreement}["bond"]
    assert bond < 0.3
    still = ar.regularise(MODEL, ar.Options(freeze=("xyz: all",)))
    assert (still.reason, still.passes, still.rms_shift) == ("nothing to move: all coordinates are frozen", 0, 0.0)


def test_the_same_start_gives_the_same_end(example: ar.Regularised) -> None:
    again = ar.regularise(gemmi.read_structure(str(MODEL)))
    np.testing.assert_array_equal(again.atoms.xyz, example.atoms.xyz)
    places = [cra.atom.pos.tolist() for cra in again.to_gemmi()[0].all()]
    np.testing.assert_array_equal(places, example.atoms.xyz)


def test_command(example: ar.Regularised, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.toml"
    config.write_text('freeze = ["xyz: water"]\n[external]\nsecondary_structure = "on"\n', encoding="utf-8")
    out = tmp_path / "new" / "folder"
    words = ["regularise", str(MODEL), "-o", str(out), "--config", str(config), "--external.ramachandran", "on"]
    assert cli.main([*words, "--tether", "0.5", "--write-hydrogens", "yes"]) == 0
    text = capsys.readouterr().out
    content = json.loads((out / "regularised.json").read_text(encoding="utf-8"))
    assert content["schema"] == "arrayrefine.regularise/1"
    assert content["tether"] == 0.5
    assert content["options"]["freeze"] == ["xyz: water"]
    assert content["options"]["external"]["ramachandran"] == "on"
    kinds = {row["kind"]: row for row in content["restraints"]}
    assert kinds.keys() - {row.kind for row in example.agreement} == {"Ramachandran", "secondary structure"}
    assert f"{kinds['bond']['before']:.2f}   {kinds['bond']['after']:.2f}" in text
    assert f"{content['shift']['atom']}, by {content['shift']['largest']:.2f} Å" in text
    assert text.endswith(f"wrote {out / 'regularised.json'}\n")
    written = gemmi.read_structure(str(out / "regularised.cif"))
    assert any(cra.atom.is_hydrogen() for cra in written[0].all())
    was, now = _places(MODEL), _places(out / "regularised.cif")
    far = {who: float(np.linalg.norm(now[who] - was[who])) for who in was}
    water = {who for who in was if who[2] == "O" and int(who[1]) > 200}
    assert max(far[who] for who in water) < 1e-3 < np.median([far[who] for who in far.keys() - water])


@pytest.mark.parametrize("kind", ["pdb", "cif"])
def test_a_model_without_a_crystal_gets_none(tmp_path: Path, kind: str) -> None:
    structure = gemmi.read_structure(str(MODEL))
    structure.remove_ligands_and_waters()
    del structure[0]["A"][30:]
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(), ""
    path = tmp_path / f"model.{kind}"
    document = structure.make_mmcif_document()
    for category in ("_cell.", "_symmetry."):
        document.sole_block().find_mmcif_category(category).erase()
    path.write_text(document.as_string() if kind == "cif" else structure.make_pdb_string(), encoding="utf-8")
    found = ar.regularise(path)
    assert any("names no crystal: it is put into" in note for note in found.notes)
    found.write(tmp_path)
    for name in ("regularised.cif", "regularised.pdb"):
        written = gemmi.read_structure(str(tmp_path / name))
        assert not written.cell.is_crystal()
        assert written.spacegroup_hm in ("", "P 1")  # CRYST1 of what is no crystal


def test_hydrogens_are_where_the_moved_atoms_want_them(case: Case) -> None:
    """They keep their vectors while atoms move: those that do not turn stayed so, as their parents had them before."""
    found = ar.regularise(case("1aba") / "shaken.pdb", ar.Options(write_hydrogens="yes"))
    again = geometry_of_file(found.to_gemmi()).atoms
    np.testing.assert_array_equal(again.identity.atom_name, found.atoms.identity.atom_name)
    fixed = found.atoms.is_hydrogen & np.isin(found.atoms.identity.atom_name, ["H", "HA", "HA2", "HA3"])
    assert fixed.sum() > 150
    np.testing.assert_allclose(found.atoms.xyz[fixed], again.xyz[fixed], atol=2e-3)


def test_what_the_files_leave_out_is_said_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    structure = gemmi.read_structure(str(MODEL))
    structure.remove_ligands_and_waters()
    del structure[0]["A"][8:]
    structure.rename_chain("A", "Heavy")
    path, older = tmp_path / "model.cif", tmp_path / "regularised.pdb"
    structure.make_mmcif_document().write_file(str(path))
    older.write_text("of another model", encoding="utf-8")
    assert cli.main(["regularise", str(path), "-o", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert text.count("warning: regularised.pdb is not written: chain name 'Heavy' has 5 characters") == 1
    assert str(older) not in text
    assert not older.exists()
    assert (tmp_path / "regularised.pdb.old").read_text(encoding="utf-8") == "of another model"


def test_what_has_nothing_to_give_is_not_tried_again() -> None:
    """A lone water: no restraint, no pull, nothing to gain."""
    structure = gemmi.read_structure(str(MODEL))
    for chain in structure[0]:
        for k in reversed(range(len(chain))):
            if not (chain[k].is_water() and chain[k].seqid.num == structure[0][-1][-1].seqid.num):
                del chain[k]
    structure.remove_empty_chains()
    found = ar.regularise(structure)
    assert len(found.atoms) == 1
    assert (found.passes, found.rms_shift, found.agreement) == (1, 0.0, ())


def test_the_model_is_never_replaced(tmp_path: Path) -> None:
    structure = gemmi.read_structure(str(MODEL))
    structure.remove_ligands_and_waters()
    del structure[0]["A"][4:]
    path = tmp_path / "regularised.pdb"
    path.write_text(structure.make_pdb_string(), encoding="utf-8")
    found = ar.regularise(path)
    with pytest.raises(ar.InputError, match=r"the input '.*' would be replaced by the output '.*regularised\.pdb'"):
        found.write(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["regularised.pdb"]


def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["regularise", str(MODEL), "--tether", "-1", "-o", str(tmp_path / "a")]) == 2
    assert "--tether: found -1, expected Å above 0" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
    here = tmp_path / "regularised.cif"
    here.write_bytes(MODEL.read_bytes())
    assert cli.main(["regularise", str(here), "-o", str(tmp_path)]) == 2
    assert f"the input '{here}' would be replaced by the output" in capsys.readouterr().err


def test_an_interrupted_one_leaves_the_best_so_far(tmp_path: Path) -> None:
    asked = iter([None] * 6)
    found = ar.regularise(MODEL, tether=0.0, stop=lambda: next(asked, 2))
    assert found.stopped
    assert (found.passes, found.evaluations) == (1, 5)  # SciPy asks once more for the start
    rows = {row.kind: row for row in found.agreement}
    assert rows["angle"].after < rows["angle"].before
    assert dict.fromkeys(path.name for path in found.write(tmp_path)).keys() == {
        "regularised.cif", "regularised.pdb", "regularised.json",
    }  # fmt: skip
