"""Reading reflections: tables, columns, test sets, and one measurement each in the asymmetric unit."""
