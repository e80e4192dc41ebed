"""Components as the PDB defines them, by bonds and ideal coordinates, made into restraints."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from typing import NamedTuple

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.topology.component_restraints import restraint_block
from arrayrefine.topology.compounds import Compound
from arrayrefine.topology.dictionary_contents import contents
from arrayrefine.topology.typical_geometry import TypicalGeometry
from arrayrefine.wording import counted, listed

Float = NDArray[np.float64]

_ORDERS = {"SING": "single", "DOUB": "double", "TRIP": "triple", "QUAD": "triple", "AROM": "aromatic", "DELO": "deloc"}
_IDEAL = tuple(f"pdbx_model_Cartn_{axis}_ideal" for axis in "xyz")
_OF_AN_ENTRY = tuple(f"model_Cartn_{axis}" for axis in "xyz")
_ACIDS = ("P", "S", "AS", "SE", "B")


class Connectivity(NamedTuple):
    """What tells whether two compounds are one: names of the heavy atoms, and bonds between them, metals aside."""

    atoms: frozenset[str]
    bonds: frozenset[frozenset[str]]

    @classmethod
    def of(cls, component: gemmi.ChemComp) -> Connectivity:
        """That of a component with restraints."""
        kinds = {atom.id: atom.el for atom in component.atoms if not atom.is_hydrogen()}
        light = {name for name, element in kinds.items() if not element.is_metal}
        pairs = (frozenset((bond.id1.atom, bond.id2.atom)) for bond in component.rt.bonds)
        return cls(frozenset(kinds), frozenset(pair for pair in pairs if pair <= light))

    @classmethod
    def of_compound(cls, compound: Compound) -> Connectivity:
        """That of a definition."""
        heavy = compound.heavy_atoms
        light = {k for k in heavy if not compound.is_metal(k)}
        names = compound.atoms
        bonds = (frozenset((names[a], names[b])) for a, b, _ in compound.bonds if {a, b} <= light)
        return cls(frozenset(names[k] for k in heavy), frozenset(bonds))


class Definitions(NamedTuple):
    """What came of the definitions in a file.

    Attributes
    ----------
    document : gemmi.cif.Document
        With restraints in their place.
    notes : list of str
    unused : list of str
        Components that are defined and not wanted.
    """

    document: gemmi.cif.Document
    notes: list[str]
    unused: list[str]


def use_definitions(
    document: gemmi.cif.Document, wanted: Container[str], known: Callable[[str], tuple[str, Connectivity] | None],
    typical: Callable[[], TypicalGeometry],
) -> Definitions:  # fmt: skip
    """Replace definitions of the PDB that have coordinates for all heavy atoms by restraints.

    Where there are restraints of the same component, with the same heavy atoms and bonds, these are better.

    Parameters
    ----------
    document : gemmi.cif.Document
    wanted : container of str
        Components of the model.
    known : callable
        Gives where there are restraints of a component, and its heavy atoms and bonds; None where there are none.
    typical : callable
        Gives typical lengths and angles; called where there is a definition.

    Returns
    -------
    Definitions
    """
    completed = gemmi.cif.Document()
    notes, unused = [], []
    defined = []
    for block in document:
        made = _compound(block)
        if made is None:
            completed.add_copied_block(block)
        else:
            defined.append(made)
    beside = contents(completed)[0]
    for compound, coordinates, acids in defined:
        if compound.name in beside:
            notes.append(f"component {compound.name} has a definition and restraints: the restraints are used")
            continue
        if compound.name not in wanted:
            unused.append(compound.name)
            continue
        better = known(compound.name)
        if better is not None and better[1] == Connectivity.of_compound(compound):
            notes.append(f"component {compound.name} is a definition: the restraints of {better[0]} are used")
            continue
        completed.add_copied_block(restraint_block(compound, typical()))
        protons = f"; {counted(len(acids), 'proton')} of acids left out: {listed(acids)}" if acids else ""
        notes.append(
            f"component {compound.name} is a definition: restraints are made from its bonds and {coordinates} "
            f"coordinates, and lengths and angles that are typical of its groups{protons}"
        )
    return Definitions(completed, notes, unused)


def _compound(block: gemmi.cif.Block) -> tuple[Compound, str, list[str]] | None:
    """The compound, which coordinates it has, and protons that it loses; None if it is no definition, or lacks some."""
    if block.find_values("_chem_comp_bond.value_dist") or block.find_values("_chem_comp_bond.value_dist_nucleus"):
        return None
    for tags, what in ((_IDEAL, "ideal"), (_OF_AN_ENTRY, "model")):
        table = block.find("_chem_comp_atom.", ["atom_id", "type_symbol", *tags, "?comp_id", "?charge"])
        if not len(table):
            continue
        stereo = block.find("_chem_comp_atom.", ["atom_id", "pdbx_stereo_config"])
        chiral = frozenset(row.str(0) for row in stereo if row.str(1).upper() in ("R", "S"))
        places = np.array([[gemmi.cif.as_number(row[k]) for k in range(2, 5)] for row in table])
        elements = [row.str(1).upper() for row in table]
        known = np.isfinite(places).all(axis=1)
        heavy = np.array([element not in ("H", "D") for element in elements])
        if not known[heavy].all() or _coincide(places[known]):
            continue
        names = [row.str(0) for row in table]
        charges = [_integer(row.str(6)) if row.has(6) else 0 for row in table]
        bonds = _bonds(block, names)
        if bonds is None:
            return None
        acids = _protons_of_acids(elements, bonds)
        for oxygen in acids.values():
            charges[oxygen] -= 1
        keeps = [k for k in range(len(names)) if known[k] and k not in acids]
        new = {old: k for k, old in enumerate(keeps)}
        name = table[0].str(5) if table[0].has(5) else _name(block)
        kept = tuple((new[one], new[two], kind) for one, two, kind in bonds if one in new and two in new)
        compound = Compound(
            name, _kind(block), tuple(names[k] for k in keeps), tuple(elements[k] for k in keeps),
            tuple(charges[k] for k in keeps), kept, places[keeps][None], chiral,
        )  # fmt: skip
        return compound, what, [names[k] for k in acids]
    return None


def _bonds(block: gemmi.cif.Block, names: Sequence[str]) -> list[tuple[int, int, str]] | None:
    """Bonds and their kinds; None where some are of atoms that are not listed."""
    rows = {name: k for k, name in enumerate(names)}
    found = []
    for row in block.find("_chem_comp_bond.", ["atom_id_1", "atom_id_2", "?value_order", "?pdbx_aromatic_flag"]):
        one, two = rows.get(row.str(0)), rows.get(row.str(1))
        kind = _ORDERS.get(row.str(2).upper()[:4], "single") if row.has(2) else "single"
        if row.has(3) and row.str(3).upper() == "Y":
            kind = "aromatic"
        if one is None or two is None:
            return None
        found.append((one, two, kind))
    return found


def _protons_of_acids(elements: Sequence[str], bonds: Iterable[tuple[int, int, str]]) -> dict[int, int]:
    """Hydrogens of carboxylic, phosphoric and other acids, which have lost them at neutral pH, to their oxygens."""
    near: dict[int, dict[int, str]] = {k: {} for k in range(len(elements))}
    for one, two, kind in bonds:
        near[one][two] = near[two][one] = kind
    found = {}
    for oxygen, element in enumerate(elements):
        protons = [k for k in near[oxygen] if elements[k] in ("H", "D")]
        others = [k for k in near[oxygen] if k not in protons]
        if element != "O" or len(protons) != 1 or len(others) != 1:
            continue
        centre = others[0]
        double = any(
            elements[k] == "O" and kind == "double" for k, kind in near[centre].items() if k != oxygen
        )  # fmt: skip
        if double and (elements[centre] == "C" or elements[centre] in _ACIDS):
            found[protons[0]] = oxygen
    return found


def _name(block: gemmi.cif.Block) -> str:
    """Of a component whose atoms do not say it: what the block says, or is called."""
    said = block.find_values("_chem_comp.id")
    return said.str(0) if len(said) == 1 else block.name.removeprefix("comp_")


def _kind(block: gemmi.cif.Block) -> str:
    for row in block.find("_chem_comp.", ["type"]):
        return row.str(0)
    return "non-polymer"


def _coincide(places: Float) -> bool:
    """Whether there are no coordinates but zeros, say."""
    return len(places) > 1 and len(np.unique(places.round(3), axis=0)) < len(places)


def _integer(text: str) -> int:
    number = gemmi.cif.as_number(text)
    return 0 if np.isnan(number) else int(number)
