"""Both distances of hydrogens where a dictionary gives one."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from arrayrefine.hydrogens.lengths import NUCLEUS, give_both_distances
from arrayrefine.hydrogens.sources import add_hydrogens
from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import EMBEDDED, load_monomers
from arrayrefine.options import RidingHydrogens


def _to_hydrogen(component: gemmi.ChemComp) -> list[tuple[str, gemmi.Restraints.Bond]]:
    """Element of the parent, and the bond."""
    element = {atom.id: atom.el for atom in component.atoms}
    found = []
    for bond in component.rt.bonds:
        ends = [element[bond.id1.atom], element[bond.id2.atom]]
        if sum(end.is_hydrogen for end in ends) == 1:
            found.append((next(end.name for end in ends if not end.is_hydrogen), bond))
    return found


def test_one_distance_is_told_by_its_length() -> None:
    monlib = gemmi.MonLib()
    component = gemmi.ChemComp()
    component.name = "ONE"
    expected = []
    for n, (parent, value, electron) in enumerate(
        [("C", 1.09, False), ("C", 0.97, True), ("N", 1.01, False), ("N", 0.86, True), ("O", 0.97, False),
         ("O", 0.84, True), ("S", 1.34, False), ("S", 1.2, True), ("B", 1.1, True)]
    ):  # fmt: skip
        for kind, name in ((parent, f"{parent}{n}"), ("H", f"H{n}")):
            atom = gemmi.ChemComp.Atom()
            atom.id, atom.el = name, gemmi.Element(kind)
            component.atoms.append(atom)
        bond = gemmi.Restraints.Bond()
        bond.id1, bond.id2 = gemmi.Restraints.AtomId(f"{parent}{n}"), gemmi.Restraints.AtomId(f"H{n}")
        bond.value, bond.value_nucleus = value, np.nan
        component.rt.bonds.append(bond)
        expected.append((value, NUCLEUS * value) if electron else (value / NUCLEUS, value))
    monlib.monomers["ONE"] = component
    give_both_distances(monlib, ["ONE"])
    found = [(bond.value, bond.value_nucleus) for bond in monlib.monomers["ONE"].rt.bonds]
    np.testing.assert_allclose(found, expected)


def test_embedded_components_have_electrons_nearer_than_nuclei() -> None:
    names = sorted(path.stem for path in EMBEDDED.glob("*/*.cif"))
    monlib = load_monomers(names).monlib
    names = [name for name in names if name in monlib.monomers]
    before = {name: [(b.value, b.value_nucleus) for _, b in _to_hydrogen(monlib.monomers[name])] for name in names}
    give_both_distances(monlib, names)
    completed = 0
    for name in names:
        for (parent, bond), (value, nucleus) in zip(_to_hydrogen(monlib.monomers[name]), before[name]):
            if nucleus > 0:
                assert (bond.value, bond.value_nucleus) == (value, nucleus)
                continue
            completed += 1
            assert 1.02 < bond.value_nucleus / bond.value < 1.2
            assert 0.8 < bond.value < {"S": 1.25}.get(parent, 1.0), (name, parent, value)
    assert completed > 500


@pytest.mark.parametrize("distance", ["electron", "nucleus"])
def test_hydrogens_of_a_component_with_distances_to_nuclei_only(case, distance: str) -> None:  # type: ignore[no-untyped-def]
    """Spermine in 1V9G: 1.09 Å from C, 1.03 Å from N."""
    model = read_model(case("1v9g") / "model.cif")
    library = load_monomers(["DC", "DG", "SPK"])
    model, _, _ = add_hydrogens(model, model.crystal, library, RidingHydrogens(distance=distance))  # type: ignore[arg-type]
    atoms = model.atoms
    child, parent = atoms.riding.child, atoms.riding.parent
    rows = (atoms.identity.residue_name[child] == "SPK") & (atoms.element[parent] == "C")
    assert rows.sum() == 20
    length = np.linalg.norm(atoms.xyz[child] - atoms.xyz[parent], axis=1)[rows]
    assert np.abs(length - {"electron": 0.993, "nucleus": 1.092}[distance]).max() < 0.01
