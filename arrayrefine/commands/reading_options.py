"""Options of the commands that refine nothing: how the model, and its data, are read."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from arrayrefine.errors import InputError

_OF_MODEL_TOO = ("radiation",)
"""What says how data are read and matters without them: it decides how far hydrogens are from their parents."""


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


def check_needs_no_data(reading: Reading) -> None:
    """Refuse what says how data are read where there are none.

    Raises
    ------
    InputError
        Naming the options.
    """
    of_model = {field.name for field in fields(ModelReading)} | set(_OF_MODEL_TOO)
    default = Reading()
    given = [
        "--" + field.name.replace("_", "-")
        for field in fields(Reading)
        if field.name not in of_model and getattr(reading, field.name) != getattr(default, field.name)
    ]
    if given:
        raise InputError(
            f"found {', '.join(given)} but no file of reflections, which it is about; expected one after the model: "
            "give it, or leave the option out to look at the geometry alone"
        )
