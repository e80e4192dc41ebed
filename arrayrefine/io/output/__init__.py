"""Writing the results: files and their headers, all of them or none."""
