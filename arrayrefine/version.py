"""The version of this package."""

from __future__ import annotations

import importlib.metadata


def version() -> str:
    """Return the installed version, or say that a source tree is used without installation."""
    try:
        return importlib.metadata.version("arrayrefine")
    except importlib.metadata.PackageNotFoundError:
        return "source"
