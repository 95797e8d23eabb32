"""Analyses, one file each with a constant `ANALYSIS`; `study.analysis` defines an analysis."""
