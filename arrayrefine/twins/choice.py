"""Whether a crystal is refined as a twin, and by which laws: what the options say, or what the data look like."""

from __future__ import annotations

import contextlib

import numpy as np

from arrayrefine.crystal import Crystal
from arrayrefine.errors import InputError
from arrayrefine.reflections import Reflections
from arrayrefine.twins.signs import suspicion, twin_laws
from arrayrefine.twins.twin import Twin
from arrayrefine.wording import Caution, are, counted

_LEAST_START = 0.05
"""Fraction of a domain at the start, at least; the H-test's is too small where data are noisy."""
_USUAL_START = 0.2
"""Where too few mates were measured for the H-test."""
MOST_LAWS = 5
_LARGEST_TOTAL = 0.5
"""Of the domains beside the first at the start. Where all begin alike nothing tells which of them the model is of: with
0.75 the deposited model of 6oww, whose mates are nearly alike, became the second, at R-free 0.339 instead of 0.335."""
_NO_TWIN = 0.05
"""Fraction below which a crystal is hardly a twin: refined models of single ones are found to have 0.03, as a little of
another domain makes up for weak amplitudes that are measured too large."""


def chosen_laws(
    reflections: Reflections, option: tuple[str, ...], header: tuple[str, ...] = ()
) -> tuple[tuple[str, ...], list[str]]:
    """Names of the twin laws (among `Crystal.twin_laws`) that a refinement takes into account.

    Parameters
    ----------
    reflections : Reflections
    option : tuple of str
        ("auto",): those that the data show most, where intensities are as even as a twin's, and those by which the
        model was refined. ("none",), or operators, each by itself or several joined by ";".
    header : tuple of str
        Operators by which the model was refined, as its header says.

    Returns
    -------
    laws : tuple of str
    notes : list of str
        Which of them are the header's alone.

    Raises
    ------
    InputError
        The lattice does not have such a law.
    """
    crystal = reflections.crystal
    if option == ("none",):
        return (), []
    if option == ("auto",):
        suspected = suspicion(reflections)
        shown = suspected.related if suspected is not None and suspected.even else ()
        laws = [law.name for law in shown if crystal.keeps_point_group(law.name)][:MOST_LAWS]
        before = [law for law in _of_crystal(crystal, header) if law not in laws][: MOST_LAWS - len(laws)]
        said = f"refined as a twin by {', '.join(before)} as well, as the header of the model says it was"
        return (*laws, *before), [said if laws else said.replace(" as well", "")] if before else []
    asked = [law for given in option for law in given.split(";") if law.strip()]
    try:
        named = tuple(dict.fromkeys(crystal.twin_law(law) for law in asked))
    except InputError as error:
        raise InputError(f"--twin: {error}; or auto, or none") from None
    if not 0 < len(named) <= MOST_LAWS:
        raise InputError(f"--twin: found {counted(len(named), 'law')}, expected 1 to {MOST_LAWS}, auto or none")
    return named, []


def _of_crystal(crystal: Crystal, operators: tuple[str, ...]) -> list[str]:
    """Names of operators that are twin laws of the crystal."""
    found = []
    for operator in operators:
        with contextlib.suppress(InputError):
            found.append(crystal.twin_law(operator))
    return found


def as_twin(reflections: Reflections, laws: tuple[str, ...]) -> Twin | None:
    """The twin by these laws, with the fractions that the H-test gives; None without laws."""
    if not laws:
        return None
    told = {law.name: law.fraction for law in twin_laws(reflections)}
    fractions = np.array([max(told.get(law, _USUAL_START), _LEAST_START) for law in laws])
    return Twin.of(reflections, laws, (fractions * min(1.0, _LARGEST_TOTAL / fractions.sum())).tolist())


def of_test_set(reflections: Reflections, laws: tuple[str, ...]) -> list[str]:
    """A word on a test set of which the twin mates are in the work set; one that was chosen at random has them all."""
    split = Twin.of(reflections, laws, [0.0] * len(laws)).split(reflections) if laws else 0
    if not split:
        return []
    return [Caution(
        f"{counted(split, 'test reflection')} of {int(reflections.free.sum())} {are(split)} measured together with a "
        "twin mate of the work set, which the model is fitted to: R-free is too low. Choose a test set that has all "
        "mates of its reflections (--free random does), and refine from a start that it has not seen"
    )]


def at_end(twin: Twin) -> list[str]:
    """Say what the fractions came to."""
    out: list[str] = []
    said = ", ".join(f"{law} {fraction:.3f}" for law, fraction in zip(twin.laws, twin.fractions[1:]))
    out.append(
        f"refined as a twin: fraction of the domain by {said}; R factors compare with those of other twins, which are "
        "lower than those of single crystals as good"
    )
    remedy = "refine it with --twin none" if len(twin.laws) == 1 else "name the other laws only (--twin)"
    out += [
        Caution(f"the crystal is hardly a twin by {law} (fraction {fraction:.3f}): {remedy}")
        for law, fraction in zip(twin.laws, twin.fractions[1:]) if fraction < _NO_TWIN
    ]
    return out
