"""Options of the commands that refine nothing: how the model, and its data, are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class ModelReading:
    """How a model is read where nothing is refined: the options of these names, None or () for theirs."""

    restraints: tuple[Path, ...] = ()
    """Restraint CIFs of your ligands; they win over every library."""
    monomers: Path | None = None
    """Folder of a monomer library (default: $CLIBD_MON, then the embedded one)."""
    unknown: Literal["error", "hold", "shape"] | None = None
    """Components without restraints: stop, look at the rest, or take their shape for what it should be."""
    hydrogens: Literal["auto", "add", "keep", "refine", "strip"] | None = None
    """Hydrogens of the dictionary, those of the file (riding, or atoms like others), or none."""


@dataclass(frozen=True)
class Reading(ModelReading):
    """The same of a model and its data."""

    columns: str | None = None
    """Data columns, such as FP,SIGFP (default: found by type and name); FP,SIGFP=intensity or I,SIGI=amplitude where
    their types are wrong; FP,5% where there are no sigmas."""
    phases: str | None = None
    """Experimental phases for likelihood and maps: columns HLA,HLB,HLC,HLD or PHIB,FOM, FILE:HLA,... or FILE.phs."""
    free: str | None = None
    """Free-flag column and the value of the test set, such as FreeR_flag=0 (default: found); or a file that has the
    flags, such as free.mtz or free.mtz:FREER=0."""
    twin: tuple[str, ...] = ()
    """Whether the crystal is a twin: auto (where the data look like it), none, or operators, such as --twin=-h,k,-l."""
    radiation: Literal["auto", "xray", "electron", "neutron"] | None = None
    """What the data were measured with (default: what the header of the model says, or else X-rays)."""
    wavelength: float | None = None
    """Wavelength of the X-rays, Å: form factors with f'."""
    d_min: float | None = None
    """Cut the data at this resolution, Å."""
    d_max: float | None = None
    """Leave out reflections of lower resolution than this, Å."""
