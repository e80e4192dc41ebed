"""Crystals of several domains: whether data are of one, and how it is refined."""
