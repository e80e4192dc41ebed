"""The command line: its commands, their help and progress, and how they are stopped."""
