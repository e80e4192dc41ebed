"""Options that come to nothing for a model or beside other options, and what is said about them."""

from __future__ import annotations

import dataclasses
from typing import Any

from arrayrefine.atoms import Atoms
from arrayrefine.displacements.tls_groups import wants_groups
from arrayrefine.options import ANISOTROPIC_KEYWORDS, Options
from arrayrefine.selection import select
from arrayrefine.steering.rigid_body import held_groups
from arrayrefine.wording import Caution

_SWITCHES = (
    "secondary_structure", "ramachandran", "rotamers", "ncs", "metals", "base_pairs", "puckers", "jelly_body",
)  # fmt: skip
"""Classes of restraints of `External`, each with a sigma, a weight or both."""

_OF_ADP = ("adp_distance", "shape_ratio", "rigid_ratio", "sphericity_sigma")
"""Options of `Geometry` on restraints of displacements; all but the first act between tensors."""
_OF_ROBUST = ("ratio", "ratio_adp", "evidence_adp", "clamp")
"""Options of `Weighting` that only --weights robust, and search after it, measure with."""
_OF_DATA = ("columns", "phases", "free", "twin", "wavelength", "d_min", "d_max")
"""Options of `Options` on how data are read, and what they are."""
_OF_OUTPUT = ("write_hydrogens", "maps", "uncertainties")
"""Options of `Options` on what a refinement writes; that it writes no page is no loss."""
_OF_RIDING = ("b_ratio", "b_ratio_turning", "turn")
"""Options of `RidingHydrogens` that are about nothing where hydrogens are refined."""


def refines(options: Options, *kinds: str) -> bool:
    """Whether a step names one of some kinds of parameters, and is taken."""
    return options.cycles > 0 and bool(options.kinds & set(kinds))


def tls_option(options: Options, atoms: Atoms) -> tuple[str, ...]:
    """What --tls comes to: `auto` makes no groups where no step would refine them and the model has no ANISOU."""
    makes = refines(options, "b", "tls") or wants_groups(options.tls) or bool(atoms.u_aniso.any())
    return options.tls if makes else ("none",)


def frozen_groups(options: Options, atoms: Atoms) -> list[str]:
    """Sentences about TLS groups of which --freeze names a part: they are frozen as a whole."""
    out = []
    for text in options.freeze:
        kind, _, selection = text.partition(":")
        if kind.strip() != "tls":
            continue
        chosen = select(atoms, selection)
        for number, name in enumerate(atoms.tls.names):
            inside = atoms.tls.group == number
            named = int((chosen & inside).sum())
            if 0 < named < inside.sum():
                out.append(
                    f"--freeze '{text}' names {named} of the {int(inside.sum())} atoms of the TLS group {name}, which "
                    "is frozen as a whole: --tls with selections makes other groups"
                )
    return [Caution(sentence) for sentence in out]


def without_effect(options: Options, model: Atoms, *, on_cpu: bool = True) -> list[str]:
    """Sentences about selections that name nothing, and options that no step uses, where it computes."""
    out = []
    named = [(f"--freeze '{text}'", text.partition(":")[2]) for text in options.freeze]
    if options.anisotropic not in ANISOTROPIC_KEYWORDS:
        named.append((f"--anisotropic '{options.anisotropic}'", options.anisotropic))
    out += [f"{flag} names no atom of the model" for flag, text in named if not select(model, text).any()]
    if options.occupancy_groups and "occupancy" not in options.kinds:
        out.append("--occupancy-groups has no effect: no step refines occupancies (--targets xyz b occupancy does)")
    if wants_groups(options.tls) and not refines(options, "b", "tls"):
        why = "no step names b or tls (--targets xyz b does)" if options.cycles else "there is no cycle"
        out.append(f"the TLS groups are not refined: {why}")
    idle = [text for text in options.freeze if text.partition(":")[0].strip() == "occupancy"]
    if options.cycles and not refines(options, "occupancy"):
        out += [f"--freeze '{text}' has no effect: no step refines occupancies" for text in idle]
    fixed = [name for name in ("geometry", "adp") if getattr(options.weighting, name) and options.weights != "fixed"]
    out += [f"--weighting.{name} has no effect: --weights fixed uses it" for name in fixed]
    if options.start and not options.perturb:
        out.append(f"--start {options.start} has no effect: no start is displaced (--perturb does)")
    out += _of_rigid_bodies(options, model)
    if options.anisotropic == "keep" and options.cycles and not model.anisotropic.any():
        out.append("--anisotropic keep makes no atom anisotropic: the model has no ANISOU records")
    out += _beside_a_switch(options)
    if options.threads > 1 and options.xray.method == "direct" and on_cpu:
        out.append(f"--threads {options.threads} has no effect on a refinement by direct summation: one core does it")
    return [Caution(sentence) for sentence in out]


def without_data(options: Options) -> list[str]:
    """Sentences about options on data, of a model that is looked at without any."""
    return [
        Caution(f"--{_flag(name)} has no effect: there are no data") for name in _changed(options) if name in _OF_DATA
    ]


def without_models(options: Options) -> list[str]:
    """Sentences about options on what is written of a model, where several are refined and none is written."""
    return [
        Caution(f"--{_flag(name)} has no effect: the refinements of a cross-validation write no models")
        for name in _changed(options) if name in _OF_OUTPUT
    ]  # fmt: skip


def _of_rigid_bodies(options: Options, model: Atoms) -> list[str]:
    """Sentences about rigid bodies that are asked for and cannot move; `left_alone` has those that the data decide on.
    """
    asked = "--rigid-groups" if options.rigid_groups else "--rigid-body yes" if options.rigid_body == "yes" else ""
    if not asked:
        return []
    if options.rigid_body == "no":
        return [f"{asked} has no effect: --rigid-body is no"]
    if not options.cycles:
        return [f"{asked} has no effect: there is no cycle"]
    if options.rigid_body == "auto" and not refines(options, "xyz"):
        return [f"{asked} has no effect: no step names xyz (--rigid-body yes moves groups all the same)"]
    held = held_groups(model, options)
    return [f"the rigid group '{name}' does not move: --freeze holds coordinates of its atoms" for name in held]


def _beside_a_switch(options: Options) -> list[str]:
    """Sentences about options of a group that were changed while what they are about is switched off."""
    external, out = options.external, []
    if options.reference is None:
        changed = _changed(external, "reference_")
        out += [f"--external.{_flag(name)} has no effect: there is no --reference" for name in changed]
    for name in _SWITCHES:
        if getattr(external, name) in ("off", False, "strict"):
            chosen = "strict" if getattr(external, name) == "strict" else "off"
            said = f"has no effect: --external.{_flag(name)} is {chosen}"
            out += [f"--external.{_flag(one)} {said}" for one in _changed(external, f"{name}_")]
    if options.cycles and not refines(options, "xyz"):
        switched = [f"--external.{_flag(name)} on" for name in _SWITCHES if getattr(external, name) == "on"]
        switched += ["--reference"] if options.reference is not None else []
        out += [f"{flag} has no effect: no step refines coordinates (--targets xyz+b does)" for flag in switched]
    if not options.geometry.contacts:
        changed = _changed(options.geometry, "contact_")
        out += [f"--geometry.{_flag(name)} has no effect: --geometry.no-contacts leaves them out" for name in changed]
    if options.adp == "none":
        changed = [name for name in _OF_ADP if name in _changed(options.geometry)]
        out += [f"--geometry.{_flag(name)} has no effect: --adp is none" for name in changed]
    elif options.anisotropic == "none":
        changed = [name for name in _OF_ADP[1:] if name in _changed(options.geometry)]
        out += [f"--geometry.{_flag(name)} has no effect: --anisotropic is none" for name in changed]
    out += _of_weights(options)
    if options.hydrogens == "strip":
        out += [f"--riding.{_flag(name)} has no effect: --hydrogens is strip" for name in _changed(options.riding)]
    if options.hydrogens == "refine":
        changed = [name for name in _changed(options.riding) if name in _OF_RIDING]
        out += [f"--riding.{_flag(name)} has no effect: --hydrogens is refine, so that none ride" for name in changed]
    if options.waters == "keep":
        changed = _changed(options.ordered_solvent)
        out += [f"--ordered-solvent.{_flag(name)} has no effect: --waters is keep" for name in changed]
    elif not options.cycles:
        out.append(f"--waters {options.waters} has no effect: there is no cycle")
    if options.solvent.model == "none":
        changed = [name for name in _changed(options.solvent) if name != "model"]
        out += [f"--solvent.{_flag(name)} has no effect: --solvent.model is none" for name in changed]
    return out


def _of_weights(options: Options) -> list[str]:
    """Sentences about options of weights that the scheme, or the target, leaves no use for."""
    changed = [name for name in _OF_ROBUST if name in _changed(options.weighting)]
    if options.weights not in ("robust", "search"):
        return [f"--weighting.{_flag(name)} has no effect: --weights is {options.weights}" for name in changed]
    why = {}
    if options.adp != "kl":
        why["evidence_adp"] = f"--adp is {options.adp}"
    if options.xray.target != "ml":
        why = dict.fromkeys(("evidence_adp", "clamp"), f"--xray.target is {options.xray.target}")
    return [f"--weighting.{_flag(name)} has no effect: {why[name]}" for name in changed if name in why]


def _changed(group: Any, prefix: str = "") -> list[str]:
    """Names of the options of a group, which begin with `prefix`, that have not their default."""
    default = type(group)()
    names = [field.name for field in dataclasses.fields(group) if field.name.startswith(prefix)]
    return [name for name in names if getattr(group, name) != getattr(default, name)]


def _flag(name: str) -> str:
    return name.replace("_", "-")
