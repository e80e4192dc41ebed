"""Wavelengths of X-rays."""

WAVELENGTHS = (0.2, 5.0)
"""Å; that crystals are measured with."""
