"""Copies that stay the same: strict non-crystallographic symmetry."""
