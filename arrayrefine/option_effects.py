"""Options that come to nothing for a model or beside other options, and what is said about them."""

from __future__ import annotations

from arrayrefine.atoms import Atoms
from arrayrefine.options import Options
from arrayrefine.selection import select
from arrayrefine.tls_groups import wants_groups


def refines(options: Options, *kinds: str) -> bool:
    """Whether a step names one of some kinds of parameters, and is taken."""
    return options.cycles > 0 and any(set(kinds) & set(target.split("+")) for target in options.targets)


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
    return out


def without_effect(options: Options, model: Atoms, *, on_cpu: bool = True) -> list[str]:
    """Sentences about selections that name nothing, and options that no step uses, where it computes."""
    out = []
    named = [(f"--freeze '{text}'", text.partition(":")[2]) for text in options.freeze]
    if options.anisotropic not in ("auto", "none", "keep"):
        named.append((f"--anisotropic '{options.anisotropic}'", options.anisotropic))
    out += [f"{flag} names no atom of the model" for flag, text in named if not select(model, text).any()]
    if options.occupancy_groups and not any("occupancy" in target.split("+") for target in options.targets):
        out.append("--occupancy-groups has no effect: no step refines occupancies (--targets xyz b occupancy does)")
    if wants_groups(options.tls) and not any({"b", "tls"} & set(target.split("+")) for target in options.targets):
        out.append("the TLS groups are not refined: no step names b or tls (--targets xyz b does)")
    fixed = [name for name in ("geometry", "adp") if getattr(options.weighting, name) and options.weights != "fixed"]
    out += [f"--weighting.{name} has no effect: --weights fixed uses it" for name in fixed]
    if options.start and not options.perturb:
        out.append(f"--start {options.start} has no effect: no start is displaced (--perturb does)")
    if options.rigid_groups and options.rigid_body == "no":
        out.append("--rigid-groups has no effect: --rigid-body is no")
    if options.threads > 1 and options.xray.method == "direct" and on_cpu:
        out.append(f"--threads {options.threads} has no effect on a refinement by direct summation: one core does it")
    return out
