"""Where results are and how they are named; grids, tables, pictures."""
