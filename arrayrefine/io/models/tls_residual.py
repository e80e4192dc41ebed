"""Files whose B are what atoms have besides their TLS groups: what the groups of the header do is added."""

from __future__ import annotations

import re

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Identity
from arrayrefine.displacements.displacement import EIGHT_PI_SQUARED, parted
from arrayrefine.displacements.tls import NUMBERS, Tls
from arrayrefine.io.models.site_values import put_displacements, values_of
from arrayrefine.io.models.tls_header import complete_groups, is_ours, members, why_no_groups
from arrayrefine.kernels import symmetric
from arrayrefine.wording import counted

Float = NDArray[np.float64]

_SAYS_SO = re.compile(r"U VALUES ?: RESIDUAL ONLY|CONTAINS? RESIDUAL [BU] FACTORS|LIKELY RESIDUAL", re.IGNORECASE)
"""What REFMAC has written in REMARK 3, and what the PDB says where it has found out."""
_TAGS = ("_refine.details", "_refine.pdbx_TLS_residual_ADP_flag")
_RADIANS = np.pi / 180.0
_AWAY, _EXTENT = 10.0, 0.5
"""Å, and the share of its extent, by which the origin of a group is off the centre of its atoms where these were moved
since. The origins of 274 groups of 79 entries of the PDB were off by at most 2.0 Å, and 0.16 of the extent."""


def with_header_tls(
    structure: gemmi.Structure, document: gemmi.cif.Document | None, who: Identity, xyz: Float, b_iso: Float,
    u_aniso: Float, anisotropic: NDArray[np.bool_],
) -> tuple[Float, Float, NDArray[np.bool_], tuple[str, ...]]:
    """Whole B and U of a model whose header says that its B are without the motion of its TLS groups.

    Parameters
    ----------
    structure : gemmi.Structure
        As read, with the header.
    document : gemmi.cif.Document or None
        The mmCIF file that it came from.
    who : Identity
    xyz : (N, 3) float64
        Å.
    b_iso : (N,) float64
        Å².
    u_aniso : (N, 6) float64
        Traceless, Å².
    anisotropic : (N,) bool
        Where the file has ANISOU; a model that has any has whole ones, and is returned as it is.

    Returns
    -------
    b_iso : (N,) float64
    u_aniso : (N, 6) float64
    anisotropic : (N,) bool
        Members of the groups, too.
    notes : tuple of str
    """
    if is_ours(structure) or anisotropic.any() or not _says_residual(structure, document):
        return b_iso, u_aniso, anisotropic, ()
    tls = _motion(structure, who)
    inside = tls.group >= 0
    if not tls.values.any():
        return b_iso, u_aniso, anisotropic, ()
    says = "the header says that B of the file are what atoms have besides their TLS groups: "
    if not inside.any() or not np.isfinite(tls.values).all():
        reason = "not all of their tensors can be read" if inside.any() else why_no_groups(structure)
        return b_iso, u_aniso, anisotropic, (f"{says}these B are taken for whole ones; {reason}",)
    moved = _moved(tls, xyz)
    inside &= ~np.isin(tls.group, list(moved))
    off = (
        f"{says}in {counted(len(moved), 'group')} these B are taken for whole ones, as the origin given "
        f"there is not amid the atoms (off by {max(moved.values(), default=0.0):.0f} Å at most): they were moved since"
    )
    if not inside.any():
        return b_iso, u_aniso, anisotropic, (off,)
    whole = tls.u(xyz)[inside] + symmetric.isotropic(b_iso[inside] / EIGHT_PI_SQUARED)
    before, b_iso, u_aniso = float(b_iso[inside].mean()), b_iso.copy(), u_aniso.copy()
    b_iso[inside], u_aniso[inside] = parted(whole)
    found = len(np.unique(tls.group[tls.group >= 0]))
    missing = f"; no atom is in the ranges of {len(tls) - found} more" if found < len(tls) else ""
    moving = f"{counted(found - len(moved), 'group')} is added to {counted(int(inside.sum()), 'atom')}"
    note = (
        f"{says}the motion of {moving}, as ANISOU would have it, and their mean B goes from {before:.1f} to "
        f"{b_iso[inside].mean():.1f} Å²{missing}"
    )
    return b_iso, u_aniso, inside, (note, off) if moved else (note,)


def write_motion(structure: gemmi.Structure, document: gemmi.cif.Document | None, who: Identity) -> tuple[str, ...]:
    """Give a structure ANISOU where its header alone has the motion of TLS groups; a note where it has.

    What stands in the way of it is said by `with_header_tls`, when the structure is read.
    """
    complete_groups(structure)
    xyz, b_iso, _, _, u_aniso, anisotropic = values_of(structure)
    b_iso, u_aniso, inside, notes = with_header_tls(structure, document, who, xyz, b_iso, u_aniso, anisotropic)
    if inside is anisotropic:
        return ()
    sites = [atom for chain in structure[0] for residue in chain for atom in residue]
    whole = u_aniso + symmetric.isotropic(b_iso / EIGHT_PI_SQUARED)
    put_displacements(sites, b_iso, np.where(inside[:, None], whole, 0.0))
    return notes


def _says_residual(structure: gemmi.Structure, document: gemmi.cif.Document | None) -> bool:
    text = [line[10:] for line in structure.raw_remarks if line.startswith("REMARK   3")]
    text += [row.str(0) for block in document or () for tag in _TAGS for row in block.find([tag])]
    return _SAYS_SO.search(" ".join(" ".join(text).split())) is not None


def _moved(tls: Tls, xyz: Float) -> dict[int, float]:
    """Groups whose origin is not amid their atoms, and how far off it is, Å: their tensors are of another place."""
    found = {}
    for number in np.unique(tls.group[tls.group >= 0]).tolist():
        place = xyz[tls.group == number]
        centre = place.mean(axis=0)
        extent = float(np.linalg.norm(place - centre, axis=1).max())
        off = float(np.linalg.norm(tls.origin[number] - centre))
        if off > max(_AWAY, _EXTENT * extent):
            found[number] = off
    return found


def _motion(structure: gemmi.Structure, who: Identity) -> Tls:
    """Groups of the header with their tensors, which it gives in Å², degree² and Å degree."""
    group = np.full(len(who.chain), -1, dtype=np.int64)
    groups = [one for found in structure.meta.refinement[:1] for one in found.tls_groups]
    origin, values = np.zeros((len(groups), 3)), np.zeros((len(groups), NUMBERS))
    for number, one in enumerate(groups):
        group[members(one, who)] = number
        origin[number] = one.origin.tolist()
        s = np.array(one.S.tolist())
        s -= np.trace(s) / 3.0 * np.eye(3)
        screw = [s[0, 0], s[1, 1], s[0, 1], s[0, 2], s[1, 0], s[1, 2], s[2, 0], s[2, 1]]
        values[number] = [
            *one.T.elements_pdb(),
            *(_RADIANS**2 * np.array(one.L.elements_pdb())),
            *(_RADIANS * np.array(screw)),
        ]
    return Tls(group, origin, values)
