"""What is said of a refinement: tables, verdicts, and what options came to."""
