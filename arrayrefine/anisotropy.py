"""Which atoms have an anisotropic displacement tensor of their own."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.selection import select
from arrayrefine.wording import counted

AUTO_D_MIN = 1.7
"""Å; with worse data `auto` keeps all atoms isotropic."""
AUTO_REFLECTIONS = 1.0
"""Work reflections per parameter of the anisotropic model that `auto` asks for."""
NEVER = ("HOH", "DOD", "WAT", "H2O")
"""Waters of `auto` stay isotropic where data are worse than `AUTO_WATER_D_MIN`."""
AUTO_WATER_D_MIN = 1.2


def choose_anisotropic(atoms: Atoms, option: str, d_min: float, n_work: int) -> tuple[Atoms, tuple[str, ...]]:
    """Atoms of which those that an option names are anisotropic, and what to say about it.

    Parameters
    ----------
    atoms : Atoms
        As read: anisotropic where the file says so.
    option : str
        "none"; "keep" for those that the file has; "auto"; or a selection.
    d_min : float
        Å.
    n_work : int
        Work reflections.

    Returns
    -------
    atoms : Atoms
        U of atoms that become anisotropic starts from the file's, or round; of the others only the equivalent B stays.
    notes : tuple of str

    Raises
    ------
    InputError
        The selection cannot be read.
    """
    chosen = _chosen(atoms, option, d_min, n_work) & ~atoms.is_hydrogen & ~atoms.riding.mask(len(atoms))
    lost = int((atoms.anisotropic & ~chosen).sum())
    notes = []
    if chosen.any():
        ratio = _ratio(atoms, chosen, n_work)
        why = f" (auto: {ratio:.1f} work reflections per parameter)" if option == "auto" else ""
        if ratio < AUTO_REFLECTIONS:
            why = f" (only {ratio:.2f} work reflections per parameter: beware of overfitting, see R-free)"
        notes.append(f"{counted(int(chosen.sum()), 'atom')} refined with anisotropic displacements{why}")
    if lost:
        notes.append(f"ANISOU of {counted(lost, 'atom')} is taken to its isotropic equivalent")
    u_aniso = np.where(chosen[:, None], atoms.u_aniso, 0.0)
    return dataclasses.replace(atoms, u_aniso=u_aniso, anisotropic=chosen), tuple(notes)


def _chosen(atoms: Atoms, option: str, d_min: float, n_work: int) -> NDArray[np.bool_]:
    none = np.zeros(len(atoms), dtype=bool)
    if option == "none":
        return none
    if option == "keep":
        return atoms.anisotropic
    if option != "auto":
        return select(atoms, option)
    chosen = ~atoms.is_hydrogen
    if d_min > AUTO_WATER_D_MIN:
        chosen &= ~np.isin(atoms.identity.residue_name, NEVER)
    return chosen if d_min <= AUTO_D_MIN and _ratio(atoms, chosen, n_work) >= AUTO_REFLECTIONS else none


def _ratio(atoms: Atoms, chosen: NDArray[np.bool_], n_work: int) -> float:
    """Work reflections per parameter: nine for an anisotropic atom, four for another."""
    own = int((~atoms.riding.mask(len(atoms)) & ~atoms.is_hydrogen).sum())
    return n_work / max(4 * own + 5 * int(chosen.sum()), 1)
