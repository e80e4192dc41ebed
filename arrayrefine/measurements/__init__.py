"""What the measurements say by themselves, and which of them are odd."""
