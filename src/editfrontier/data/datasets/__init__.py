"""Data sets, one file each with a constant `DATASET`; `data.dataset` says what a data set is."""
