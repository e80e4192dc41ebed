"""How weights are found: schemes, the norms they are measured by, and trials."""
