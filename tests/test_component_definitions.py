"""Components as the PDB defines them: restraints from bonds, ideal coordinates and typical geometry."""

import itertools
from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest

from arrayrefine.errors import InputError
from arrayrefine.monomers import EMBEDDED, load_monomers
from arrayrefine.options import Options
from arrayrefine.preparation import prepare
from arrayrefine.topology.component_definitions import use_definitions
from arrayrefine.topology.compounds import Compound
from arrayrefine.topology.typical_geometry import typical_geometry

_ORDERS = {"SINGLE": "SING", "DOUBLE": "DOUB", "TRIPLE": "TRIP", "AROMATIC": "AROM", "DELOC": "DELO", "METAL": "SING"}


def definition(component: str, name: str, folder: Path = EMBEDDED, ideal: str = "pdbx_model_Cartn_{}_ideal") -> str:
    """A component of a monomer library as the PDB would define it: its coordinates and bonds, no ideals."""
    block = gemmi.cif.read(str(folder / component[0].lower() / f"{component}.cif")).find_block(f"comp_{component}")
    atoms = block.find("_chem_comp_atom.", ["atom_id", "type_symbol", "x", "y", "z", "?charge"])
    bonds = block.find("_chem_comp_bond.", ["atom_id_1", "atom_id_2", "type"])
    chiral = {
        row.str(0) for row in block.find("_chem_comp_chir.", ["atom_id_centre", "volume_sign"]) if row.str(1) != "both"
    }
    lines = [f"data_{name}", f"_chem_comp.id {name}", "_chem_comp.type NON-POLYMER", "loop_"]
    lines += [f"_chem_comp_atom.{tag}" for tag in ("comp_id", "atom_id", "type_symbol", "charge", "pdbx_stereo_config")]
    lines += [f"_chem_comp_atom.{ideal.format(axis)}" for axis in "xyz"]
    for row in atoms:
        hand = "R" if row.str(0) in chiral else "N"
        lines.append(f'{name} "{row.str(0)}" {row[1]} {row[5] if row.has(5) else 0} {hand} {row[2]} {row[3]} {row[4]}')
    lines += ["loop_", *(f"_chem_comp_bond.{tag}" for tag in ("comp_id", "atom_id_1", "atom_id_2", "value_order"))]
    lines += [f'{name} "{row.str(0)}" "{row.str(1)}" {_ORDERS[row.str(2).upper()]}' for row in bonds]
    return "\n".join(lines) + "\n"


def restraints_of(text: str, name: str) -> gemmi.ChemComp:
    """What is made of a definition that no library has."""
    found = use_definitions(gemmi.cif.read_string(text), [name], lambda _: None, lambda: typical_geometry(EMBEDDED))
    library = gemmi.MonLib()
    library.read_monomer_doc(found.document)
    return library.monomers[name]


def lengths(one: gemmi.ChemComp) -> dict[frozenset[str], float]:
    return {frozenset((bond.id1.atom, bond.id2.atom)): bond.value for bond in one.rt.bonds}


def angles(one: gemmi.ChemComp) -> dict[tuple[str, frozenset[str]], float]:
    return {(a.id2.atom, frozenset((a.id1.atom, a.id3.atom))): a.value for a in one.rt.angles}


@pytest.mark.parametrize(
    ("component", "length", "angle"), [("NAG", 0.025, 2.0), ("TRP", 0.025, 2.0), ("ATP", 0.03, 3.5), ("FAD", 0.03, 3.5)]
)
def test_restraints_of_a_definition_are_near_those_of_the_dictionary(
    component: str, length: float, angle: float
) -> None:
    """Those of the last two are values that a program assumed, such as 120° in five-rings: see the next test."""
    made = restraints_of(definition(component, "QQQ"), "QQQ")
    known = load_monomers([component]).monlib.monomers[component]
    heavy = {atom.id for atom in known.atoms if not atom.is_hydrogen()}

    ours, theirs = lengths(made), lengths(known)
    assert ours.keys() == theirs.keys()
    assert np.sqrt(np.mean([(ours[k] - theirs[k]) ** 2 for k in ours if k <= heavy])) < length
    ours_, theirs_ = angles(made), angles(known)
    both = [k for k in ours_ if k in theirs_]
    assert len(both) > 0.9 * len(theirs_)
    assert np.sqrt(np.mean([(ours_[k] - theirs_[k]) ** 2 for k in both])) < angle

    def hands(one: gemmi.ChemComp) -> dict[str, int]:
        """Signs of centres, by three neighbours in the order of their names."""
        found = {}
        for centre in one.rt.chirs:
            three = [centre.id1.atom, centre.id2.atom, centre.id3.atom]
            even = np.linalg.det(np.eye(3)[np.argsort(three)]) > 0
            sign = {"Positive": 1, "Negative": -1}.get(centre.sign.name, 0)
            found[f"{centre.id_ctr.atom} {sorted(three)}"] = sign if even else -sign
        return found

    ours__, theirs__ = hands(made), hands(known)
    common = [key for key in theirs__ if ours__.get(key) and theirs__[key]]
    assert all(ours__[key] == theirs__[key] for key in common)
    if component in ("ATP", "NAG"):
        assert len(common) >= 3


@pytest.mark.parametrize("component", ["ATP", "FAD"])
def test_the_adenosine_of_a_definition_is_that_of_rna(component: str) -> None:
    """That of RNA has values from crystals."""
    made, known = restraints_of(definition(component, "QQQ"), "QQQ"), load_monomers(["A"]).monlib.monomers["A"]
    if component == "FAD":
        ends = {"A": "", "B": "'"}  # of its atoms' names, in the base and in the sugar next to it
        called = {a.id: a.id[:-1] + ends[a.id[-1]] if a.id[-1] in ends else f"-{a.id}" for a in made.atoms}
    else:
        called = {a.id: a.id for a in made.atoms}
    heavy = {a.id for a in known.atoms if not a.is_hydrogen() and a.el.name != "P"}
    ours = {frozenset(called[name] for name in pair): value for pair, value in lengths(made).items()}
    theirs = {pair: value for pair, value in lengths(known).items() if pair <= heavy}
    assert len(theirs) == 21
    assert np.sqrt(np.mean([(ours[k] - value) ** 2 for k, value in theirs.items()])) < 0.01
    ours_ = {(called[at], frozenset(called[n] for n in ends)): value for (at, ends), value in angles(made).items()}
    theirs_ = {key: value for key, value in angles(known).items() if {key[0], *key[1]} <= heavy}
    assert len(theirs_) == 31
    assert np.sqrt(np.mean([(ours_[k] - value) ** 2 for k, value in theirs_.items()])) < 1.0


def test_phosphates_within_a_chain_have_other_angles_than_at_its_end() -> None:
    found = angles(restraints_of(definition("ATP", "XYZ"), "XYZ"))
    for within in ("A", "B"):
        assert found[f"P{within}", frozenset((f"O1{within}", f"O2{within}"))] == pytest.approx(119.5, abs=1.0)
    ends = [found["PG", frozenset(pair)] for pair in itertools.combinations(("O1G", "O2G", "O3G"), 2)]
    assert ends == pytest.approx([112.9] * 3, abs=1.0)


@pytest.mark.parametrize(("says", "name"), [(True, "QQQ"), (False, "block")])
def test_a_definition_whose_atoms_do_not_say_so_is_of_the_component_that_it_names(says: bool, name: str) -> None:
    block = gemmi.cif.read_string(definition("SO4", "QQQ")).sole_block()
    block.name = "block"
    block.find_values("_chem_comp_atom.comp_id").erase()
    if not says:
        block.find_values("_chem_comp.id").erase()
    document = gemmi.cif.Document()
    document.add_copied_block(block)
    assert len(restraints_of(document.as_string(), name).atoms) == 5


def test_flat_rings_are_held_flat_and_others_in_their_pucker() -> None:
    made = restraints_of(definition("ATP", "QQQ"), "QQQ")
    planes = [{atom.atom for atom in plane.ids} for plane in made.rt.planes]
    purine = {"N1", "C2", "N3", "C4", "C5", "C6", "N6", "N7", "C8", "N9", "C1'"}
    assert any(purine <= plane for plane in planes)
    ring = {"C1'", "C2'", "C3'", "C4'", "O4'"}
    held = [t for t in made.rt.torsions if {t.id1.atom, t.id2.atom, t.id3.atom, t.id4.atom} <= ring]
    assert len(held) == 5
    assert all(torsion.period == 3 and torsion.esd > 0 for torsion in held)
    assert not any(ring <= plane for plane in planes)


def _acid(double: str = "DOUB") -> str:
    """Acetic acid."""
    places = {
        "C": (0.0, 0.0, 0.0), "O": (1.21, 0.0, 0.0), "OXT": (-0.67, 1.16, 0.0), "CH3": (-0.76, -1.31, 0.0),
        "HXT": (-0.1, 1.95, 0.0), "H1": (-1.83, -1.1, 0.0), "H2": (-0.5, -1.9, 0.88), "H3": (-0.5, -1.9, -0.88),
    }  # fmt: skip
    tags = ("atom_id", "type_symbol", *(f"pdbx_model_Cartn_{axis}_ideal" for axis in "xyz"))
    lines = ["data_QQQ", "_chem_comp.id QQQ", "loop_", *(f"_chem_comp_atom.{tag}" for tag in tags)]
    lines += [f"{name} {name[0]} {x} {y} {z}" for name, (x, y, z) in places.items()]
    lines += ["loop_", *(f"_chem_comp_bond.{tag}" for tag in ("atom_id_1", "atom_id_2", "value_order"))]
    bonds = ["C OXT SING", "C CH3 SING", "OXT HXT SING", "CH3 H1 SING", "CH3 H2 SING", "CH3 H3 SING"]
    return "\n".join([*lines, f"C O {double}", *bonds, ""])


def test_acids_lose_their_proton() -> None:
    acid = restraints_of(_acid(), "QQQ")
    assert "HXT" not in [atom.id for atom in acid.atoms]
    assert acid.get_atom("OXT").charge == -1
    lengths = {bond.id2.atom: bond.value for bond in acid.rt.bonds if bond.id1.atom == "C"}
    assert lengths["O"] == pytest.approx(lengths["OXT"])  # as in acetate, not 1.21 and 1.34
    alcohol = restraints_of(_acid("SING"), "QQQ")
    assert "HXT" in [atom.id for atom in alcohol.atoms]
    hydrogen = next(b for b in alcohol.rt.bonds if {b.id1.atom, b.id2.atom} == {"OXT", "HXT"})
    assert (hydrogen.value, hydrogen.value_nucleus) == (0.85, 0.97)


@pytest.mark.parametrize(("flag", "kind"), [("Y", "aromatic"), ("N", "double")])
def test_bonds_that_a_definition_calls_aromatic_are(flag: str, kind: str) -> None:
    tag = "_chem_comp_bond.value_order"
    text = _acid().replace(tag, f"{tag}\n_chem_comp_bond.pdbx_aromatic_flag")
    text = text.replace(" SING", f" SING {flag}").replace(" DOUB", f" DOUB {flag}")
    found = use_definitions(gemmi.cif.read_string(text), ["QQQ"], lambda _: None, lambda: typical_geometry(EMBEDDED))
    table = found.document[0].find("_chem_comp_bond.", ["atom_id_1", "atom_id_2", "type"])
    assert {row.str(2) for row in table if {row.str(0), row.str(1)} == {"C", "O"}} == {kind}


def test_what_is_no_definition_stays_and_what_lacks_places_is_refused(tmp_path: Path) -> None:
    path = EMBEDDED / "a" / "ATP.cif"
    document = gemmi.cif.read(str(path))
    found = use_definitions(document, ["ATP"], lambda _: None, lambda: pytest.fail("nothing to be made"))
    assert found.document.as_string() == document.as_string()
    assert not found.notes
    assert not found.unused
    blank = tmp_path / "blank.cif"
    blank.write_text(_acid().replace("C C 0.0 0.0 0.0", "C C ? ? ?"))
    with pytest.raises(InputError, match=r"blank.cif: component QQQ .* place of each of its heavy atoms"):
        load_monomers(["QQQ"], [blank])
    heap = tmp_path / "heap.cif"
    heap.write_text(_acid().replace("C C 0.0 0.0 0.0", "C C 1.21 0.0 0.0"))  # two atoms in one place
    with pytest.raises(InputError, match="place of each of its heavy atoms"):
        load_monomers(["QQQ"], [heap])
    typo = tmp_path / "typo.cif"
    typo.write_text(_acid().replace("C CH3 SING", "C CH4 SING"))
    with pytest.raises(InputError, match=r"typo.cif: component QQQ has bonds of CH4, but .* 8 of them\); .* correct"):
        load_monomers(["QQQ"], [typo])


def test_coordinates_of_an_entry_serve_where_ideal_ones_lack(tmp_path: Path) -> None:
    text = definition("ATP", "QQQ", ideal="model_Cartn_{}")
    path = tmp_path / "QQQ.cif"
    path.write_text(text)
    library = load_monomers(["QQQ"], [path])
    assert library.sources["QQQ"] == str(path)
    said = "QQQ is a definition: restraints are made from its bonds and model coordinates"
    assert any(said in note for note in library.notes)


def test_a_library_wins_over_the_definition_of_the_same_compound(tmp_path: Path) -> None:
    path = tmp_path / "definitions.cif"
    path.write_text(definition("ATP", "ATP") + definition("NAG", "NAG") + definition("ADP", "GDP"))
    library = load_monomers(["ATP", "GDP"], [path])
    plain = load_monomers(["ATP"])
    ours, theirs = library.monlib.monomers["ATP"], plain.monlib.monomers["ATP"]
    assert [bond.value for bond in ours.rt.bonds] == [bond.value for bond in theirs.rt.bonds]
    assert f"{path}: component ATP is a definition: the restraints of the library are used" in library.notes
    assert library.unused["NAG"] == str(path)
    # Another compound of that name: the user's, also where it has atoms of the same names.
    assert len([atom for atom in library.monlib.monomers["GDP"].atoms if not atom.is_hydrogen()]) == 27
    assert library.sources["GDP"] == str(path)
    isomer = definition("GOL", "GOL")
    for one in ("O3 C3", "C3 O3"):
        old = "GOL " + " ".join(f'"{name}"' for name in one.split())
        isomer = isomer.replace(old, old.replace("C3", "C2"))
    path.write_text(isomer)
    library = load_monomers(["GOL"], [path])
    assert library.sources["GOL"] == str(path)
    bonds = {frozenset((bond.id1.atom, bond.id2.atom)) for bond in library.monlib.monomers["GOL"].rt.bonds}
    assert frozenset(("O3", "C2")) in bonds


def test_a_dictionary_of_the_user_wins_over_the_definition_of_the_same_compound(tmp_path: Path) -> None:
    own, defined = tmp_path / "own.cif", tmp_path / "defined.cif"
    own.write_text((EMBEDDED / "a" / "ATP.cif").read_text().replace("ATP", "QQQ"))
    defined.write_text(definition("ATP", "QQQ"))
    library = load_monomers(["QQQ"], [own, defined])
    assert library.sources["QQQ"] == str(own)
    assert f"{defined}: component QQQ is a definition: the restraints of {own} are used" in library.notes
    library = load_monomers(["QQQ"], [defined, own])
    assert library.sources["QQQ"] == str(own)
    theirs = [bond.value for bond in library.monlib.monomers["QQQ"].rt.bonds]
    own.write_text(f"{own.read_text()}\n{defined.read_text()}")
    library = load_monomers(["QQQ"], [own])
    assert [bond.value for bond in library.monlib.monomers["QQQ"].rt.bonds] == theirs
    assert f"{own}: component QQQ has a definition and restraints: the restraints are used" in library.notes


def test_a_crystal_with_a_definition_has_the_restraints_of_the_dictionary(
    case: Callable[[str], Path], tmp_path: Path
) -> None:
    """Retinoic acid of 1CBS by another name: as many hydrogens, bonds and angles, that fit alike."""
    folder = case("1cbs")
    library = folder.parents[1] / "monomers"
    if not (library / "r" / "REA.cif").is_file():
        pytest.skip("needs REA of the monomer library beside the data")
    cif = tmp_path / "QRA.cif"
    cif.write_text(definition("REA", "QRA", library))
    renamed = tmp_path / "renamed.cif"
    renamed.write_text((folder / "model.cif").read_text().replace("REA", "QRA"))
    found = []
    for model, options in (
        (folder / "model.cif", Options(monomers=library)), (renamed, Options(restraints=(cif,))),
    ):  # fmt: skip
        _, problem, atoms, _ = prepare(model, folder / "norm.mtz", options)
        mine = np.isin(atoms.identity.residue_name, ["REA", "QRA"])
        bonds, angles = problem.restraints.bonds, problem.restraints.angles
        lengths = np.linalg.norm(atoms.xyz[bonds.index[:, 0]] - atoms.xyz[bonds.index[:, 1]], axis=1)
        own = mine[bonds.index].all(axis=1)
        z = ((lengths - bonds.ideal) / bonds.sigma)[own]
        bent = int(mine[angles.index].all(axis=1).sum())
        found.append((int(mine.sum()), len(z), bent, float(np.sqrt(np.mean(z**2)))))
    assert found[0][:3] == found[1][:3] == (49, 22, 30)
    assert found[1][3] == pytest.approx(found[0][3], abs=0.3)


def test_ends_that_resonance_makes_alike_have_one_length() -> None:
    """Three oxygens with one double bond, as definitions have them, on an element that the library lacks."""
    tags = ("atom_id", "type_symbol", *(f"pdbx_model_Cartn_{axis}_ideal" for axis in "xyz"))
    lines = ["data_QQQ", "_chem_comp.id QQQ", "loop_", *(f"_chem_comp_atom.{tag}" for tag in tags)]
    lines += ["SI SI 0 0 0", "O1 O 1.6 0 0", "O2 O -0.6 1.6 0", "O3 O -0.6 -0.8 1.5", "C1 C -0.8 -1.0 -1.5"]
    lines += ["loop_", *(f"_chem_comp_bond.{tag}" for tag in ("atom_id_1", "atom_id_2", "value_order"))]
    made = restraints_of("\n".join([*lines, "SI O1 DOUB", "SI O2 SING", "SI O3 SING", "SI C1 SING", ""]), "QQQ")
    lengths = {bond.id2.atom: bond.value for bond in made.rt.bonds}
    mean = (1.6 + np.hypot(0.6, 1.6) + np.sqrt(0.36 + 0.64 + 2.25)) / 3
    assert [lengths[o] for o in ("O1", "O2", "O3")] == pytest.approx([mean] * 3, abs=1e-3)
    assert lengths["C1"] == pytest.approx(np.sqrt(0.64 + 1.0 + 2.25), abs=1e-3)
    angles = {frozenset((a.id1.atom, a.id3.atom)): a.value for a in made.rt.angles}
    assert angles[frozenset(("O1", "O2"))] == angles[frozenset(("O2", "O3"))] == angles[frozenset(("O1", "O3"))]
    assert angles[frozenset(("O1", "C1"))] == angles[frozenset(("O2", "C1"))] != angles[frozenset(("O1", "O2"))]


@pytest.mark.parametrize(("inner", "aromatic"), [("SDSDSD", True), ("SDSSDS", False)])
def test_a_double_bond_in_a_ring_is_not_taken_for_an_aromatic_one(inner: str, aromatic: bool) -> None:
    """Hydroquinone and benzoquinone: C2=C3 has the same atoms around it in both."""
    turn = np.exp(1j * np.pi / 3 * np.arange(6))
    places = [*(1.34 * turn), *(2.6 * turn[[0, 3]]), *(2.42 * turn[[1, 2, 4, 5]])]
    names = [*(f"C{k}" for k in range(1, 7)), "O1", "O4", *(f"H{k}" for k in (2, 3, 5, 6))]
    orders = {"S": "single", "D": "double"}
    ends = "single" if aromatic else "double"
    bonds = [(k, (k + 1) % 6, orders[kind]) for k, kind in enumerate(inner)]
    bonds += [(0, 6, ends), (3, 7, ends), *((k, 8 + n, "single") for n, k in enumerate((1, 2, 4, 5)))]
    compound = Compound(
        "QQQ", "non-polymer", tuple(names), tuple(name[0] for name in names), (0,) * 12, tuple(bonds),
        np.array([[[one.real, one.imag, 0.0] for one in places]]), frozenset(),
    )  # fmt: skip
    length = typical_geometry(EMBEDDED).length(compound, 1, 2)
    assert length == pytest.approx(1.385 if aromatic else 1.335, abs=0.015)


def test_dictionaries_that_take_double_bonds_for_single_ones_do_not_say_what_is_typical() -> None:
    """As the quinone of U10 and the bases of 7MG, with 1.49 Å."""
    lengths = typical_geometry(EMBEDDED).lengths
    assert max(value for (_, _, order), value in lengths.items() if order) < 1.46
    assert ("C6(CCO)", "C6(CCO)", "double") not in lengths


def test_values_of_crystals_go_before_those_that_a_program_assumed(tmp_path: Path) -> None:
    """Of two dictionaries of one ion the one whose sigmas differ tells lengths; of the other what only it has."""
    (tmp_path / "s").mkdir()
    assumed = gemmi.cif.read(str(EMBEDDED / "s" / "SO4.cif"))
    bonds = assumed.find_block("comp_SO4").find("_chem_comp_bond.", ["atom_id_2", "value_dist", "value_dist_esd"])
    for row in bonds:
        row[1], row[2] = "1.60", "0.02"
    assumed.write_file(str(tmp_path / "s" / "SO4.cif"))
    alone = typical_geometry(tmp_path).lengths
    assert [*alone.values()] == [1.60]
    other = assumed.as_string().replace("SO4", "SXX").replace("1.60", "1.47")
    lines = other.splitlines()
    first = next(k for k, line in enumerate(lines) if "1.47" in line)
    lines[first] = lines[first].replace("0.02", "0.01")
    (tmp_path / "t" / "s").mkdir(parents=True)
    (tmp_path / "t" / "s" / "SO4.cif").write_text((tmp_path / "s" / "SO4.cif").read_text())
    (tmp_path / "t" / "s" / "SXX.cif").write_text("\n".join(lines) + "\n")
    assert [*typical_geometry(tmp_path / "t").lengths.values()] == pytest.approx([1.47])
