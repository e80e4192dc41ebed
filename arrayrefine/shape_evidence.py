"""Whether the data can tell the shape of each atom's displacement: anisotropic atoms that they ask for.

The gradient of the likelihood by the shapes of the atoms' U is a sum over the reflections. With a random sign for each
reflection only what is noise in it is left, so that its power tells how much of the power of the gradient itself is
noise too, and how much is signal. No second model has to be refined to know it, and the test set has no say.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from arrayrefine.anisotropy import candidates
from arrayrefine.atoms import Atoms
from arrayrefine.displacement import CURVATURE_BY_U
from arrayrefine.kernels import symmetric
from arrayrefine.state import Problem, State
from arrayrefine.targets.adp import AdpTarget
from arrayrefine.targets.xray import XrayTarget
from arrayrefine.tls import Tls
from arrayrefine.wording import counted

Mask = NDArray[np.bool_]

ENOUGH = 0.4
"""Signal over noise from which shapes are refined. Restraints keep noise out, so that less than 1 will do: of 28
crystals R-free was lower with U than with TLS groups in all six above (by 0.008 to 0.034), with one random test set
each; of 22 below it was higher in 18 (by 0.002 to 0.022), and no different in two between 0.3 and 0.4."""
UNRESTRAINED = 1.0
"""The same where neighbours' tensors are not restrained, so that all noise gets in."""
_FITS = 0.35
"""R-work above which what looks like shapes is rather what the model lacks, or where it is wrong."""
_DRAWS = 2
"""Sets of random signs: with 1000 atoms each knows the noise to 2 %, and the ratio is good to 0.04."""
_BY_SHAPE = float(symmetric.STRAINS[1] @ CURVATURE_BY_U @ symmetric.STRAINS[1])
"""Curvature of the X-ray target by a shape over that by B: the same for all five."""
_ROUND = 1e-7
"""Å²; as good as nothing, but without any shape an atom has no derivative by it."""


def undecided(problem: Problem, atoms: Atoms) -> tuple[Mask | None, tuple[str, ...]]:
    """Atoms (N,) of which the data are to tell whether they become anisotropic, and what to say about it.

    None where that is decided: by an option, by the model, or because too few reflections or cycles are left to ask.
    Atoms whose displacement is not refined stay as they are, as do all where the user froze a group.
    """
    options, free = problem.options, problem.parameters(atoms, "tls+b")
    if options.anisotropic != "auto" or options.tls not in (("auto",), ("none",)) or free.u.any():
        return None, ()
    kinds = {kind for target in options.targets for kind in target.split("+")}
    if "b" not in kinds or not free.tls.all() or not options.cycles:
        return None, ()
    data = problem.reflections
    chosen = candidates(atoms, data.d_min, int(data.work.sum())) & free.b & ~atoms.anisotropic
    if not chosen.any():
        return None, ()
    if options.cycles <= 1:
        return None, ("whether atoms are to be anisotropic is asked after the first of several cycles: not here",)
    return chosen, ()


def signal_to_noise(xray: XrayTarget, atoms: Atoms, chosen: Mask, seed: int = 0) -> float:
    """Signal over noise in the gradient of the likelihood by the shapes of the displacements of some atoms.

    Both are sums of gᵀH⁻¹g over the atoms, H the expected curvature, over the five shapes of each.

    Parameters
    ----------
    xray : XrayTarget
    atoms : Atoms
    chosen : (N,) bool
    seed : int
        Of the random signs.

    Returns
    -------
    float
        About zero where there is only noise, and below by chance; zero too where the data do not see the atoms.
    """
    flat = chosen & ~atoms.u_aniso.any(axis=1)
    u_aniso = np.where(flat[:, None], _ROUND * symmetric.STRAINS[1], atoms.u_aniso)
    shaped = atoms.replace(u_aniso=u_aniso)
    curvature = np.where(chosen, _BY_SHAPE * xray.curvature(atoms).b_iso, 0.0)
    seen = curvature > 1e-9 * curvature.max(initial=0.0)
    _, d_f = xray.by_structure_factor(xray.f_calc(atoms))
    plan = xray.structure_factors.forgetful()  # on a device, atoms that had a tensor once keep its cost

    def power(signs: NDArray[np.float64] | float) -> float:
        by_u = plan.pullback(signs * d_f, shaped).u_aniso
        if by_u is None:
            return 0.0
        by_shape = by_u[seen] @ symmetric.STRAINS[1:].T
        return float(((by_shape**2).sum(axis=1) / curvature[seen]).sum())

    rng = np.random.default_rng(seed)
    noise = float(np.mean([power(rng.choice([-1.0, 1.0], len(d_f))) for _ in range(_DRAWS)]))
    return power(1.0) / noise - 1.0 if noise > 0.0 else 0.0


def decided(problem: Problem, state: State) -> tuple[Problem, State, str]:
    """Problem and state with the undecided atoms anisotropic, if the data ask for it, and the answer in words.

    TLS groups end: what they did to their atoms is where these start from. The model is the same. The words are empty
    where nothing was undecided; where the answer is no, the state is the one given.
    """
    chosen = problem.undecided
    if chosen is None:
        return problem, state, ""
    problem = dataclasses.replace(problem, undecided=None)
    r_work = state.statistics.r_work
    if r_work > _FITS:
        answer = f"no atom becomes anisotropic, as the model is too far from the data: R-work {r_work:.2f}"
        return problem, state, answer
    found = signal_to_noise(state.xray, state.atoms, chosen, problem.options.seed)
    enough = ENOUGH if problem.options.adp == "kl" else UNRESTRAINED
    told = f"their signal is {found:.2f} of the noise, {enough:g} asked for"
    if found < enough:
        return problem, state, f"no atom becomes anisotropic, as the data do not tell the shapes: {told}"
    chosen = chosen | (state.atoms.tls.group >= 0)
    atoms = dataclasses.replace(
        state.atoms, anisotropic=state.atoms.anisotropic | chosen, tls=Tls.none(len(chosen))
    )
    adp = AdpTarget.build(
        problem.restraints, problem.reflections.crystal, atoms, problem.options.adp, problem.options.geometry,
        timer=problem.timer, skip=atoms.riding.mask(len(atoms)),
    )  # fmt: skip
    problem = dataclasses.replace(problem, adp=adp, _on_device=[])
    groups = len(state.atoms.tls)
    ended = f"; {counted(groups, 'TLS group')} {'ends' if groups == 1 else 'end'}" if groups else ""
    news = f"{counted(int(chosen.sum()), 'atom')} anisotropic from here on, as the data tell the shapes: {told}{ended}"
    return problem, dataclasses.replace(state, atoms=atoms), news
