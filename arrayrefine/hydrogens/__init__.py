"""Riding hydrogens: where they come from, what carries them, and how they turn."""
