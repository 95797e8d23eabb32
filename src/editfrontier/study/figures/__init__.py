"""Figures, one file each with a constant `FIGURE`; `study.figure` says what a figure is."""
