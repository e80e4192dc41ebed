"""Atoms that share an occupancy: alternate conformers, groups, and residues there in part."""
