"""Commands that look at a model and do not refine it."""
