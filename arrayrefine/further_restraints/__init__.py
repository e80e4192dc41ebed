"""Restraints that the dictionary does not have: from the model itself, a reference, or a table."""
