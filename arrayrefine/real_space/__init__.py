"""Maps in real space and what stands in them: grids, peaks, omit maps, parts without density."""
