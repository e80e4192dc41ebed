"""What a refinement decides on its way: rigid bodies, the guard of a step, when to stop."""
