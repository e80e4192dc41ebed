"""How JSON files are written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def json_text(content: Mapping[str, Any]) -> str:
    """Indented, strict JSON that ends in a newline; `content` has nothing but JSON types."""
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
