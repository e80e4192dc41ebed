"""Displacements of atoms: B, tensors of their own, and groups that move as rigid bodies (TLS)."""
