"""Whether form factors have the dispersion of X-rays at the wavelength of the data."""

from __future__ import annotations

import dataclasses

import numpy as np

from arrayrefine.atoms import Atoms
from arrayrefine.errors import InputError
from arrayrefine.io.models.reading import Model
from arrayrefine.reflections import Reflections
from arrayrefine.scattering.form_factors import dispersion, form_factors, scattering
from arrayrefine.scattering.wavelengths import WAVELENGTHS
from arrayrefine.wording import counted, listed

_WORTH_SAYING, _WORTH_ASKING = 0.5, 2.0
"""Electrons; elements with less dispersion are not named where it is part of form factors, and where it is not."""
_MOST = 1.0
"""Electrons; f' is negative near edges, and far beyond them hardly above 0."""
_STAND_IN = 1.0
"""Å; what programs write that do not know."""


def with_dispersion(
    reflections: Reflections, wavelength: float | None, model: Model
) -> tuple[Reflections, tuple[str, ...]]:
    """The reflections, which know at what wavelength (Å) form factors are wanted.

    A wavelength that only a header names is not taken: many data files have 1 Å or that of copper whatever it was.

    Raises
    ------
    InputError
        With a wavelength for data that are not of X-rays, out of range, or where the theory has no value for an element
        of the model.
    """
    wavelength = reflections.wavelength if wavelength is None else wavelength
    if wavelength is None:
        return reflections, _worth_asking(reflections, model)
    if reflections.radiation != "xray":
        raise InputError(
            f"--wavelength {wavelength:g} is one of X-rays, but the data are of {reflections.radiation}s: "
            "leave it out, or give --radiation xray"
        )
    least, most = WAVELENGTHS
    if not least <= wavelength <= most:
        raise InputError(f"wavelength {wavelength:g} of Reflections; expected a wavelength of {least:g} to {most:g} Å")
    found = _largest(model.atoms, wavelength, _WORTH_SAYING)
    _require_possible(found, wavelength)
    by = listed([f"{one} ({value:+.1f} e)" for one, value in found.items()]) if found else "none as much as 0.5 e"
    note = f"form factors have the dispersion f' at {wavelength:g} Å (--wavelength): {by}"
    return dataclasses.replace(reflections, wavelength=wavelength), (note,)


def _require_possible(found: dict[str, float], wavelength: float) -> None:
    """Refuse f' that no atom has: the theory has gaps, as of Ce, and of Pb and its neighbours at long wavelengths."""
    names, _, table = form_factors(sorted(found), wavelength=wavelength)
    forward = dict(zip(names.tolist(), scattering(table, [0.0])[:, 0].tolist()))
    odd = [f"{one} ({value:+.0f} e)" for one, value in found.items() if value > _MOST or forward[one] <= 0.0]
    if odd:
        raise InputError(
            f"--wavelength {wavelength:g}: the dispersion f' that theory gives {listed(odd)} is none that an atom can "
            "have: leave it out, or give a wavelength nearby"
        )


def _worth_asking(reflections: Reflections, model: Model) -> tuple[str, ...]:
    """What to say where dispersion would count at the wavelength that the data name, or else the model's header."""
    if reflections.radiation != "xray":
        return ()
    least, most = WAVELENGTHS
    named = {"data": reflections.source.get("wavelength"), "model's header": _of_header(model)}
    known = {by: float(str(at)) for by, at in named.items() if at and at != _STAND_IN}
    for by, wavelength in known.items():
        found = _largest(model.atoms, wavelength, _WORTH_ASKING) if least <= wavelength <= most else {}
        if found:
            atoms = sum(int((model.atoms.element == one).sum()) for one in found)
            said = listed([f"{one} ({value:+.1f} e)" for one, value in found.items()])
            return ((
                f"form factors are without dispersion, which is large at the {wavelength:g} Å of the {by} for {said}, "
                f"{counted(atoms, 'atom')}; --wavelength {wavelength:g} takes it into account"
            ),)
    return ()


def _of_header(model: Model) -> float | None:
    """The one wavelength in the header of a model, Å."""
    names = {
        part.strip()
        for crystal in model.structure.meta.crystals
        for one in crystal.diffractions
        for part in one.wavelengths.split(",")
    }
    try:
        return float(names.pop()) if len(names) == 1 else None
    except ValueError:
        return None


def _largest(atoms: Atoms, wavelength: float, least: float) -> dict[str, float]:
    """f' of the elements of a model that is at least so large, electrons, the largest first."""
    all_of = {str(one): dispersion(str(one), wavelength) for one in np.unique(atoms.element)}
    return dict(sorted(((k, v) for k, v in all_of.items() if abs(v) >= least), key=lambda pair: -abs(pair[1])))
