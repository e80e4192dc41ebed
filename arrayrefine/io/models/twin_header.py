"""What the header of a model says of twinning: the laws by which it was refined."""

from __future__ import annotations

import re

import gemmi

_DOMAIN = re.compile(r"REMARK   3\s+(?:TWIN )?(OPERATOR|FRACTION)\s*:\s*(.*?)\s*")
"""REFMAC, and phenix.refine, which gives the fraction first."""
_LEAST = 0.05
"""Fraction of a domain that counts."""


def header_laws(structure: gemmi.Structure, document: gemmi.cif.Document | None) -> tuple[str, ...]:
    """Operators of the domains of a twin, as they are written, of `_pdbx_reflns_twin` or REMARK 3.

    Parameters
    ----------
    structure : gemmi.Structure
    document : gemmi.cif.Document or None
        That it came from.
    """
    pairs: list[tuple[str, str]] = []
    for block in document or ():
        pairs += [(row[0], row[1]) for row in block.find("_pdbx_reflns_twin.", ["operator", "fraction"])]
    domain: dict[str, str] = {}
    for line in structure.raw_remarks:
        if found := _DOMAIN.fullmatch(line.rstrip()):
            domain[found[1]] = found[2]
        if len(domain) == 2:
            pairs.append((domain["OPERATOR"], domain["FRACTION"]))
            domain = {}
    return tuple(gemmi.cif.as_string(law) for law, fraction in pairs if gemmi.cif.as_number(fraction, 0.0) > _LEAST)
