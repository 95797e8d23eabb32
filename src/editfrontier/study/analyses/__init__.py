"""Analyses, one file each with a constant `ANALYSIS`; `study.analysis` says what an analysis is."""
