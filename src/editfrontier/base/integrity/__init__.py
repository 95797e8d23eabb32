"""Checks that results are whole: a table's list of its files, and the end of each file."""
