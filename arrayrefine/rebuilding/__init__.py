"""What is put elsewhere between cycles: side chains, peptides, ends, waters."""
