"""Atoms that a link makes tetrahedral, while the library leaves what they carry in a plane, as in haem c."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import gemmi

from arrayrefine.topology.atom_names import bonded_atoms, hydrogens_of
from arrayrefine.wording import listed

_TETRAHEDRAL = "CH1"
"""Energy type of a carbon with single bonds to three others and a hydrogen."""
_CHANGED, _DELETED = ord("c"), ord("d")
"""What a modification does to an atom, as gemmi keeps it."""
_LEAST = 4
"""Heavy atoms that a plane needs to restrain any."""


def mend_tetrahedral_ends(
    monlib: gemmi.MonLib, components: Iterable[str], own_links: Collection[str] = ()
) -> list[str]:
    """Let modifications that make a carbon tetrahedral take out of its planes what hangs on it alone, in place.

    Parameters
    ----------
    monlib : gemmi.MonLib
    components : iterable of str
        Components of a library, not the user's own.
    own_links : collection of str
        Links that shall stay as they are.

    Returns
    -------
    list of str
        What was changed.
    """
    names = set(components)
    found: set[tuple[str, str]] = set()
    for key in monlib.links:
        link = monlib.links[key]
        for side in (link.side1, link.side2):
            if key not in own_links and side.comp in names and side.mod in monlib.modifications:
                found.add((side.comp, side.mod))
    freed: dict[str, list[str]] = {}
    for name, modification in sorted(found):
        out = _free(monlib.monomers[name], monlib.modifications[modification])
        if out:
            freed.setdefault(name, []).extend(out)
    return [
        f"{name}: planes that its dictionary has hold {listed(atoms)} only where no link makes the carbons before them "
        "tetrahedral"
        for name, atoms in freed.items()
    ]


def _free(component: gemmi.ChemComp, modification: gemmi.ChemMod) -> list[str]:
    """Add to a modification which atoms leave which planes; heavy ones are returned."""
    heavy = {atom.id for atom in component.atoms} - hydrogens_of(component)
    freed: list[str] = []
    changed = [a.old_id for a in modification.atom_mods if a.func == _CHANGED and a.chem_type == _TETRAHEDRAL]
    for centre in changed:
        for plane in component.rt.planes:
            gone = {
                end.atom for p in modification.rt.planes if p.label == plane.label
                for end in p.ids if end.comp == _DELETED
            }  # fmt: skip
            left = {end.atom for end in plane.ids} - gone
            pieces = sorted(_pieces(centre, left, component), key=lambda piece: len(piece & heavy))
            if centre not in left or len(pieces) < 2 or len(pieces[-1] & heavy) < _LEAST - 1:
                continue
            out = sorted(set().union(*pieces[:-1]))
            removal = gemmi.Restraints.Plane()
            removal.label = plane.label
            removal.ids = [gemmi.Restraints.AtomId(_DELETED, atom) for atom in out]
            modification.rt.planes.append(removal)
            freed += [atom for atom in out if atom in heavy]
    return freed


def _pieces(centre: str, plane: Collection[str], component: gemmi.ChemComp) -> Iterator[set[str]]:
    """The parts of a plane that are left when an atom of it is gone."""
    left, bonded = set(plane) - {centre}, bonded_atoms(component)
    while left:
        piece, border = set(), {left.pop()}
        while border:
            atom = border.pop()
            piece.add(atom)
            near = bonded.get(atom, set()) & left
            left -= near
            border |= near
        yield piece
