"""Figures: one look for all, one module for each larger one."""
