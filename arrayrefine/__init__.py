"""Macromolecular crystallographic refinement on arrays.

``refine(model, data, options)`` is the main job. The pieces that it is made of can be used alone: see `read_model`,
`read_reflections`, `prepare`, `evaluate`, `Parameters`, `find_weights`, `minimise_step`. ``target(model, data)`` is the
likelihood as a function of arrays, for models of machine learning.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arrayrefine.atoms import Atoms, Gradient
    from arrayrefine.cross_validation import CrossValidation, cross_validate
    from arrayrefine.crystal import Crystal
    from arrayrefine.errors import (
        ArrayRefineError,
        DeviceError,
        InputError,
        MonomerError,
        StaleWeightsError,
        StopRefinement,
    )
    from arrayrefine.evaluation import evaluate_files, omit_files, peaks_of_files, validate_files
    from arrayrefine.io.models.reading import read_model
    from arrayrefine.io.reflections.reading import read_reflections
    from arrayrefine.likelihood import LikelihoodTarget, target
    from arrayrefine.many import Job, refine_many
    from arrayrefine.measurements.intensity_statistics import normalised_intensities
    from arrayrefine.options import Options
    from arrayrefine.parameters import Parameters
    from arrayrefine.preparation import prepare
    from arrayrefine.problem import Problem
    from arrayrefine.real_space.map_grids import MapGrid, map_grid
    from arrayrefine.real_space.model_maps import maps_of
    from arrayrefine.real_space.omit_maps import omit_map
    from arrayrefine.real_space.peaks import anomalous_peaks, find_blobs, find_peaks
    from arrayrefine.refine import refine
    from arrayrefine.refinement_step import minimise_step
    from arrayrefine.reflections import Reflections
    from arrayrefine.regularisation import Regularised, regularise
    from arrayrefine.result import Result
    from arrayrefine.selection import select
    from arrayrefine.state import State, evaluate
    from arrayrefine.structure_factors import StructureFactors
    from arrayrefine.targets.extra import ExtraTarget
    from arrayrefine.validation import Validation, validate
    from arrayrefine.version import version as version
    from arrayrefine.weighting.schemes import find_weights
    from arrayrefine.weights import Weights

_HOMES = {
    name: home
    for home, names in {
        "atoms": "Atoms Gradient",
        "crystal": "Crystal",
        "reflections": "Reflections",
        "options": "Options",
        "errors": "ArrayRefineError DeviceError InputError MonomerError StaleWeightsError StopRefinement",
        "io.models.reading": "read_model",
        "io.reflections.reading": "read_reflections",
        "parameters": "Parameters",
        "weights": "Weights",
        "weighting.schemes": "find_weights",
        "refinement_step": "minimise_step",
        "problem": "Problem",
        "state": "State evaluate",
        "structure_factors": "StructureFactors",
        "result": "Result",
        "preparation": "prepare",
        "refine": "refine",
        "many": "Job refine_many",
        "likelihood": "LikelihoodTarget target",
        "selection": "select",
        "targets.extra": "ExtraTarget",
        "validation": "Validation validate",
        "evaluation": "validate_files evaluate_files peaks_of_files omit_files",
        "real_space.model_maps": "maps_of",
        "real_space.map_grids": "map_grid MapGrid",
        "real_space.peaks": "find_peaks anomalous_peaks find_blobs",
        "real_space.omit_maps": "omit_map",
        "cross_validation": "cross_validate CrossValidation",
        "regularisation": "regularise Regularised",
        "measurements.intensity_statistics": "normalised_intensities",
    }.items()
    for name in names.split()
}
"""Module of each public name."""

__all__ = [  # noqa: RUF022 - grouped as the documentation is
    "refine", "refine_many", "Job", "cross_validate", "CrossValidation", "prepare", "Result", "Options",
    "regularise", "Regularised",
    "read_model", "read_reflections", "Atoms", "Gradient", "Crystal", "Reflections", "normalised_intensities",
    "Problem", "State", "evaluate", "StructureFactors", "Parameters", "Weights", "find_weights", "minimise_step",
    "target", "LikelihoodTarget", "ExtraTarget", "select", "StopRefinement",
    "maps_of", "map_grid", "MapGrid", "find_peaks", "anomalous_peaks", "find_blobs", "omit_map",
    "validate", "Validation", "evaluate_files", "validate_files", "peaks_of_files", "omit_files",
    "ArrayRefineError", "InputError", "MonomerError", "StaleWeightsError", "DeviceError",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import arrayrefine` and the command line's help cost nothing."""
    if name == "__version__":
        return importlib.import_module("arrayrefine.version").version()
    if name not in _HOMES:
        raise AttributeError(f"module 'arrayrefine' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"arrayrefine.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps `arrayrefine.refine` the function: importing the submodule would bind the module to that name."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value.refine if name == "refine" and isinstance(value, ModuleType) else value)


sys.modules[__name__].__class__ = _Package
