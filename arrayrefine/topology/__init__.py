"""From a model and its dictionaries to restraints: what is bonded to what, and how it is shaped."""
