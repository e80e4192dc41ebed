"""Files: reading of models and reflections, writing of results."""

from arrayrefine.io.models.reading import Model, read_model, with_atoms
from arrayrefine.io.reflections.reading import read_reflections

__all__ = ["Model", "read_model", "read_reflections", "with_atoms"]
