"""Whether a crystal is refined as a twin, and by which laws: what the options say, or what the data look like."""

from __future__ import annotations

import dataclasses

import numpy as np

from arrayrefine.errors import InputError
from arrayrefine.reflections import Reflections
from arrayrefine.twin import Twin, mate_groups
from arrayrefine.twinning import suspicion, twin_laws
from arrayrefine.wording import Caution, are, counted

_LEAST_START = 0.05
"""Fraction of a domain at the start, at least; the H-test's is too small where data are noisy."""
_USUAL_START = 0.2
"""Where too few mates were measured for the H-test."""
_MOST_LAWS = 5
_LARGEST_TOTAL = 0.5
"""Of the domains beside the first at the start. Where all begin alike nothing tells which of them the model is of: with
0.75 the deposited model of 6oww, whose mates are nearly alike, became the second, at R-free 0.339 instead of 0.335."""
_NO_TWIN = 0.05
"""Fraction below which a crystal is hardly a twin: refined models of single ones are found to have 0.03, as a little of
another domain makes up for weak amplitudes that are measured too large."""


def chosen_laws(reflections: Reflections, option: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the twin laws (among `Crystal.twin_laws`) that a refinement takes into account.

    Parameters
    ----------
    reflections : Reflections
    option : tuple of str
        ("auto",): those that the data show most, where intensities are as even as a twin's. ("none",), or operators,
        each by itself or several joined by ";".

    Raises
    ------
    InputError
        The lattice does not have such a law.
    """
    if option == ("none",):
        return ()
    if option == ("auto",):
        suspected = suspicion(reflections)
        if suspected is None or not suspected.even:
            return ()
        return tuple(law.name for law in suspected.related[:_MOST_LAWS])
    asked = [law for given in option for law in given.split(";") if law.strip()]
    try:
        laws = tuple(dict.fromkeys(reflections.crystal.twin_law(law) for law in asked))
    except InputError as error:
        raise InputError(f"--twin: {error}") from None
    if not 0 < len(laws) <= _MOST_LAWS:
        raise InputError(f"--twin: found {counted(len(laws), 'law')}, expected 1 to {_MOST_LAWS}, auto or none")
    return laws


def as_twin(reflections: Reflections, laws: tuple[str, ...]) -> Twin | None:
    """The twin by these laws, with the fractions that the H-test gives; None without laws."""
    if not laws:
        return None
    told = {law.name: law.fraction for law in twin_laws(reflections)}
    fractions = np.array([max(told.get(law, _USUAL_START), _LEAST_START) for law in laws])
    return Twin.of(reflections, laws, (fractions * min(1.0, _LARGEST_TOTAL / fractions.sum())).tolist())


def with_whole_groups(reflections: Reflections, laws: tuple[str, ...]) -> tuple[Reflections, list[str]]:
    """A test set that was chosen at random, with the mates of its reflections, or a word on one that was not."""
    if not laws or not reflections.free.any():
        return reflections, []
    twin = Twin.of(reflections, laws, [0.0] * len(laws))
    split = twin.split(reflections)
    if not split:
        return reflections, []
    if reflections.has_new_test_set:
        free = reflections.free[mate_groups(twin)]
        return dataclasses.replace(reflections, free=free), [
            "the test set has all twin mates of its reflections, as it is chosen anew"
        ]
    return reflections, [Caution(
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
