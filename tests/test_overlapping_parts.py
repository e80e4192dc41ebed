"""Residues that are there in part, in one place, are named where they have no conformers."""

from __future__ import annotations

from pathlib import Path

from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import load_monomers
from arrayrefine.restraints import Restraints
from arrayrefine.topology.build import build_restraints
from arrayrefine.wording import kind_of

_ATOM = "HETATM{n:5d}  {name:<3s}{alt}{residue:>3s} A{m:4d}    {x:8.3f}{y:8.3f}{y:8.3f}{q:6.2f} 20.00           {e}\n"


def _built(path: Path, *atoms: tuple[str, str, float, float], alt: str = " ", group: str = "P 1") -> Restraints:
    """Restraints of atoms (name, residue, x, occupancy); all but the first are conformers `alt`."""
    text = f"CRYST1   40.000   18.000   18.000  90.00  90.00  90.00 {group}\n"
    for n, (name, residue, x, q) in enumerate(atoms):
        label = alt if n else ("A" if alt != " " else " ")
        text += _ATOM.format(n=n + 1, name=name, alt=label, residue=residue, m=n + 1, x=x, y=9.0, q=q, e=name[0])
    path.write_text(text + "END\n")
    model = read_model(path)
    library = load_monomers(model.structure[0].get_all_residue_names())
    return build_restraints(model.structure, model.atoms, model.crystal, library, unknown="hold")


def _said(path: Path, *atoms: tuple[str, str, float, float], alt: str = " ", group: str = "P 1") -> list[str]:
    restraints = _built(path, *atoms, alt=alt, group=group)
    return [note for note in restraints.notes if "there in part" in note]


def test_a_water_in_the_place_of_a_ligand_is_named(tmp_path: Path) -> None:
    atoms = ("C1", "EDO", 9.0, 0.5), ("O", "HOH", 9.4, 0.5)
    said = _said(tmp_path / "a.pdb", *atoms)
    assert kind_of(said[0]) == "warning"
    assert said == [
        "1 pair of residues that are there in part is in one place, without conformers; one is taken to be there "
        "instead of the other, without contacts between them: A/EDO 1/C1 - A/HOH 2/O (0.40 Å). Name them conformers A "
        "and B (altloc); if they are bonded, name the bond in the model (LINK or struct_conn)"
    ]


def test_two_networks_of_waters_do_not_push_each_other_away(tmp_path: Path) -> None:
    """As of 1BRF, with occupancies of 0.61 and 0.39: waters ended up to 2.5 Å off."""
    waters = ("O", "HOH", 9.0, 0.61), ("O", "HOH", 9.7, 0.39), ("O", "HOH", 11.8, 0.39)
    excluded = _built(tmp_path / "a.pdb", *waters).non_bonded.excluded.tolist()
    assert excluded == [[0, 1]]
    assert not _built(tmp_path / "b.pdb", waters[0], ("O", "HOH", 9.7, 0.5)).non_bonded.excluded.tolist()


def test_what_is_named_apart_or_there_together_is_not(tmp_path: Path) -> None:
    atoms = ("C1", "EDO", 9.0, 0.5), ("O", "HOH", 9.4, 0.5)
    assert not _said(tmp_path / "a.pdb", *atoms, alt="B")
    assert not _said(tmp_path / "b.pdb", atoms[0], ("O", "HOH", 9.4, 0.7))
    assert not _said(tmp_path / "c.pdb", atoms[0], ("O", "HOH", 11.1, 0.5))
    assert not _said(tmp_path / "d.pdb", atoms[0])


def test_what_is_whole_on_an_axis_is_not(tmp_path: Path) -> None:
    atoms = ("O", "HOH", 9.0, 0.5), ("O", "HOH", 10.5, 0.5)
    assert [kind_of(note) for note in _said(tmp_path / "a.pdb", *atoms)] == ["note"]  # two waters are no more than that
    assert not _said(tmp_path / "b.pdb", *atoms, group="P 2 1 1")
