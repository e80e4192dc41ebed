"""Files: reading of models and reflections, writing of results."""

from arrayrefine.io.model import Model, read_model, with_atoms
from arrayrefine.io.reflections import read_reflections

__all__ = ["Model", "read_model", "read_reflections", "with_atoms"]
