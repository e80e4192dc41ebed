"""Which atoms have an anisotropic displacement tensor of their own."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.displacements.displacement import NOT_ROUND
from arrayrefine.options import ANISOTROPIC_KEYWORDS
from arrayrefine.selection import select
from arrayrefine.wording import counted

AUTO_D_MIN = 1.7
"""Å; with worse data `auto` does not trust the ANISOU of other programs, which mostly come from groups of atoms."""
AUTO_REFLECTIONS = 1.0
"""Work reflections per parameter that `auto` asks for where atoms are to be anisotropic from the start."""
_MOST = 0.5
"""Share of the atoms that must have ANISOU for a model to be called anisotropic."""
ATOMIC_D_MIN = 1.2
"""Å; atomic resolution (Sheldrick (1990) Acta Cryst. A46, 467-473), where atoms are anisotropic from the start."""


def candidates(atoms: Atoms, d_min: float) -> NDArray[np.bool_]:
    """Atoms (N,) that `auto` may make anisotropic: waters with very good data only."""
    chosen = ~atoms.is_hydrogen & ~atoms.riding.mask(len(atoms))
    return chosen if is_atomic(d_min) else chosen & ~atoms.is_water


def choose_anisotropic(
    atoms: Atoms, option: str, d_min: float, n_work: int, *,
    by_group: bool = False, ours: bool = False, frozen: NDArray[np.bool_] | None = None, refined: bool = True,
) -> tuple[Atoms, tuple[str, ...]]:
    """Atoms of which those that an option names are anisotropic, and what to say about it.

    Parameters
    ----------
    atoms : Atoms
        As read: anisotropic where the file says so.
    option : str
        "none"; "keep" for those that the file has; "auto", all `candidates` at atomic resolution, or where most of
        them have ANISOU and data are good or the file is ours, and none so far elsewhere; or a selection.
    d_min : float
        Å.
    n_work : int
        Work reflections.
    by_group : bool
        Whether ANISOU of the file come from groups that move as rigid bodies; `auto` then takes them for no more.
    ours : bool
        Whether the file is from arrayrefine, so that ANISOU without groups are those of anisotropic atoms.
    frozen : (N,) bool, optional
        Atoms whose displacements the user froze: with `auto` they keep the U that they have.
    refined : bool
        Whether any step refines displacements.

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
    chosen = _chosen(atoms, option, d_min, n_work, by_group, ours) & ~atoms.is_hydrogen & ~atoms.riding.mask(len(atoms))
    if option == "auto" and frozen is not None:
        chosen |= frozen & atoms.anisotropic
    lost = int((atoms.anisotropic & ~chosen).sum())
    notes = []
    if chosen.any() and not (refined and (frozen is None or (chosen & ~frozen).any())):
        notes.append(f"{counted(int(chosen.sum()), 'atom')} with anisotropic displacements, which are not refined")
    elif chosen.any():
        ratio = _ratio(atoms, chosen, n_work)
        had = f"{int((chosen & atoms.anisotropic).sum())} are in the file"
        reason = "atomic resolution" if is_atomic(d_min) else had
        why = f" (auto: {reason}, {ratio:.1f} work reflections per parameter)" if option == "auto" else ""
        if ratio < AUTO_REFLECTIONS:
            why = f" (only {ratio:.2f} work reflections per parameter: what these leave open is held by restraints)"
        notes.append(f"{counted(int(chosen.sum()), 'atom')} refined with anisotropic displacements{why}")
    if lost:
        anew = " for the start; shapes are found anew where the data are enough (--anisotropic keep keeps the file's)"
        what = f"anisotropy of {counted(lost, 'atom')}, of ANISOU or of TLS, is taken to its isotropic equivalent"
        notes.append(what + (anew if option == "auto" else ""))
    u_aniso = np.where(chosen[:, None], atoms.u_aniso, 0.0)
    # Rounding would choose which of the file's tensors that are round come out again where no step changes them.
    u_aniso[chosen & atoms.anisotropic & ~u_aniso.any(axis=1), 3] = NOT_ROUND
    return dataclasses.replace(atoms, u_aniso=u_aniso, anisotropic=chosen), tuple(notes)


def _chosen(
    atoms: Atoms, option: str, d_min: float, n_work: int, by_group: bool, ours: bool
) -> NDArray[np.bool_]:
    none = np.zeros(len(atoms), dtype=bool)
    if option == "none":
        return none
    if option == "keep":
        return atoms.anisotropic
    if option != "auto":
        return select(atoms, option, "--anisotropic", ANISOTROPIC_KEYWORDS)
    chosen = candidates(atoms, d_min)
    had = not by_group and int((chosen & atoms.anisotropic).sum()) > _MOST * int(chosen.sum())
    enough = _ratio(atoms, chosen, n_work) >= AUTO_REFLECTIONS
    good = is_atomic(d_min) or (had and round(d_min, 2) <= AUTO_D_MIN)
    return chosen if (good and enough) or (had and ours) else none


def is_atomic(d_min: float) -> bool:
    """Whether data are of atomic resolution; those called 1.20 Å end at 1.2003."""
    return round(d_min, 2) <= ATOMIC_D_MIN


def _ratio(atoms: Atoms, chosen: NDArray[np.bool_], n_work: int) -> float:
    """Work reflections per parameter: nine for an anisotropic atom, four for another."""
    own = int((~atoms.riding.mask(len(atoms)) & ~atoms.is_hydrogen).sum())
    return n_work / max(4 * own + 5 * int(chosen.sum()), 1)
