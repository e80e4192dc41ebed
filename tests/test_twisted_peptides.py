"""Peptides that are neither cis nor trans."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from arrayrefine import example
from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import load_monomers
from arrayrefine.topology.build import build_restraints
from arrayrefine.topology.twisted_peptides import at_end, twisted
from arrayrefine.wording import Caution


def _turned(number: int, degrees: float, altloc: str = "") -> gemmi.Structure:
    """Residues 94 to 98 of the example, of which 95-96 is cis, what follows a residue turned about its bond C-N."""
    structure = gemmi.read_structure(str(example.MODEL))
    chain = structure[0][0]
    for k in reversed(range(len(chain))):
        if not 94 <= chain[k].seqid.num <= 98:
            del chain[k]
    del structure[0][1:]
    residues = {residue.seqid.num: residue for residue in chain}
    foot, head = residues[number].find_atom("C", "*").pos, residues[number + 1].find_atom("N", "*").pos
    axis, angle = np.array((head - foot).tolist()), np.radians(degrees)
    axis /= np.linalg.norm(axis)
    for residue in chain:
        for atom in residue:
            if altloc:
                atom.altloc = altloc
            if residue.seqid.num > number:
                x = np.array((atom.pos - foot).tolist())
                x = x * np.cos(angle) + np.cross(axis, x) * np.sin(angle) + axis * (axis @ x) * (1.0 - np.cos(angle))
                atom.pos = foot + gemmi.Position(*x)
    return structure


@pytest.mark.parametrize("altloc", ["", "B"])
@pytest.mark.parametrize(("number", "degrees", "nearest"), [(95, 45.0, 0.0), (95, -50.0, 0.0), (96, 45.0, 180.0)])
def test_a_twisted_peptide_is_not_called_cis(number: int, degrees: float, nearest: float, altloc: str) -> None:
    model = read_model(_turned(number, degrees, altloc))
    names = sorted(set(model.atoms.identity.residue_name.tolist()))
    restraints = build_restraints(model.structure, model.atoms, model.crystal, load_monomers(names))
    (found,) = twisted(restraints.torsions, model.atoms).items()
    who, omega = found
    assert f" {number} - " in who
    assert abs(abs(omega) - nearest) == pytest.approx(abs(degrees), abs=12.0)
    (note,) = (note for note in restraints.notes if "neither cis nor trans" in note)
    assert note.startswith("1 peptide is twisted, neither cis nor trans, and restrained to be what it is nearer to: A/")
    assert any("cis peptide:" in note for note in restraints.notes) == (number != 95)
    (warning,) = at_end(restraints.torsions, model.atoms)
    assert isinstance(warning, Caution)
    assert warning.startswith("1 peptide ended twisted, neither cis nor trans: A/")


def test_what_is_cis_or_trans_is_not_twisted() -> None:
    model = read_model(_turned(95, 0.0))
    names = sorted(set(model.atoms.identity.residue_name.tolist()))
    restraints = build_restraints(model.structure, model.atoms, model.crystal, load_monomers(names))
    assert twisted(restraints.torsions, model.atoms) == {}
    assert at_end(restraints.torsions, model.atoms) == []
    assert "1 cis peptide: A 95-96" in restraints.notes
