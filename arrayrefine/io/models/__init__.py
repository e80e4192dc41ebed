"""Reading models: what PDB and mmCIF files of many programs say, made alike."""
