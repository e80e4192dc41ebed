"""Array kernels: arrays in, arrays out; no files, no options, no crystallographic objects."""
