"""What a crystallographer looks at before a model is deposited, as tables."""

from __future__ import annotations

from arrayrefine.validation.result import Validation
from arrayrefine.validation.rows import validate, validate_model

__all__ = ["Validation", "validate", "validate_model"]
