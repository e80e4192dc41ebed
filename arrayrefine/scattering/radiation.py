"""What the data were measured with, and what follows from that for the hydrogens."""

from __future__ import annotations

import dataclasses

from arrayrefine.atoms import Atoms
from arrayrefine.io.models.reading import Model
from arrayrefine.options import Options
from arrayrefine.reflections import Reflections
from arrayrefine.scattering.form_factors import METHODS, Radiation, named_radiations
from arrayrefine.wording import Caution

_CALLED: dict[str, str] = {"xray": "X-rays", "electron": "electrons", "neutron": "neutrons"}
_SAID: dict[Radiation, str] = {
    "xray": "the form factors are those of X-rays",
    "electron": "the form factors are those of electrons",
    "neutron": "atoms scatter by their coherent scattering lengths for neutrons",
}


def with_radiation(
    reflections: Reflections, asked: str, model: Model
) -> tuple[Reflections, tuple[str, ...]]:
    """The reflections, which know what was scattered; see `chosen_radiation`. What they know already stays.

    Differences of Friedel mates are those of an anomalous map for X-rays alone.
    """
    if asked == "auto" and reflections.radiation != "xray":
        asked = reflections.radiation
    radiation, notes = chosen_radiation(asked, model)
    pairs = reflections.anomalous if radiation == "xray" else None
    return dataclasses.replace(reflections, radiation=radiation, anomalous=pairs), notes


def chosen_radiation(asked: str, model: Model) -> tuple[Radiation, tuple[str, ...]]:
    """What was scattered: what was asked for, or what the header of the model says its data were measured with.

    Parameters
    ----------
    asked : str
        As `Options.radiation`. With "auto" X-rays count where the header names them, too, or nothing that diffracts: a
        model from microscopy or NMR may well be placed in X-ray data.
    model : Model

    Returns
    -------
    radiation : "xray", "electron" or "neutron"
    notes : tuple of str
    """
    header = dict(model.structure.info.items()).get("_exptl.method", "").upper()
    named = named_radiations(header)
    if asked != "auto":
        kind = next(kind for kind in METHODS if kind == asked)
        return kind, () if kind == "xray" else (f"{_SAID[kind]} (--radiation {kind})",)
    taken = implied(header)
    others = [kind for kind in named if kind != taken]
    if not others and taken == "xray":
        return taken, ()
    instead = ", ".join(f"of {_CALLED[kind]} give --radiation {kind}" for kind in others or ["xray"])
    return taken, (Caution(f"the header of the model says {header}: {_SAID[taken]}; for data {instead}"),)


def implied(header: str) -> Radiation:
    """What data are taken to be of by a header alone: X-rays where it names them or nothing, or else the first."""
    named = named_radiations(header)
    return named[0] if named and "xray" not in named else "xray"


def with_hydrogens_for(options: Options, radiation: Radiation, atoms: Atoms) -> tuple[Options, tuple[str, ...]]:
    """The options with all that is "auto" about hydrogens decided.

    Neutrons are scattered by nuclei, by those of hydrogen and deuterium with opposite signs and as much as by others.
    So hydrogens of their models are atoms like others, and those that are added are put where nuclei are. The potential
    that scatters electrons has its peak near the nucleus, too.

    Parameters
    ----------
    options : Options
    radiation : "xray", "electron" or "neutron"
    atoms : Atoms
        Of the model as read.

    Returns
    -------
    options : Options
    notes : tuple of str
    """
    has = bool((atoms.is_hydrogen & ~atoms.is_water).any())
    hydrogens, distance = options.hydrogens, options.riding.distance
    if hydrogens == "auto":
        hydrogens = "refine" if radiation == "neutron" and has else "add"
    if distance == "auto":
        distance = "electron" if radiation == "xray" else "nucleus"
    riding = dataclasses.replace(options.riding, distance=distance)
    notes = []
    if riding.deuterium != "none" and (radiation != "neutron" or hydrogens != "add"):
        why = "the data are not of neutrons" if radiation != "neutron" else "no hydrogens are added"
        notes.append(Caution(f"--riding.deuterium has no effect: {why}"))
        riding = dataclasses.replace(riding, deuterium="none")
    if radiation == "neutron" and options.waters != "keep":
        notes.append(Caution(
            f"--waters {options.waters} puts O alone where neutrons see H or D of a water as well: look at each"
        ))
    if radiation == "neutron" and hydrogens in ("add", "strip"):
        added = {"none": "all of them H", "exchangeable": "D on N, O and S, H elsewhere", "all": "all of them D"}
        said = "there are none" if hydrogens == "strip" else f"{added[riding.deuterium]} (--riding.deuterium)"
        gone = f"; the {int(atoms.is_hydrogen.sum())} of the model, H and D, are not used" if has else ""
        notes.append(Caution(f"neutrons see hydrogens as well as other atoms: {said}{gone}"))
    return dataclasses.replace(options, hydrogens=hydrogens, riding=riding), tuple(notes)


def with_method(model: Model, radiation: Radiation) -> Model:
    """The model with a header that says what its data were measured with, where it does not, or names others too."""
    if implied(dict(model.structure.info.items()).get("_exptl.method", "")) == radiation:
        return model
    structure = model.structure.clone()
    structure.info["_exptl.method"] = METHODS[radiation]
    return dataclasses.replace(model, structure=structure)
