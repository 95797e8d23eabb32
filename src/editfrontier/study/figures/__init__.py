"""Figures, one file each with a constant `FIGURE`; `study.figure` defines a figure."""
