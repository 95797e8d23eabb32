#!/bin/bash
# Snakemake runs this once in the environment of models.yaml: facexlib, which pyiqa requires, brings an opencv-python that lies
# on top of the headless package and does not import where libGL is missing.
set -eu
pip uninstall --yes opencv-python opencv-python-headless
pip install --no-deps opencv-python-headless==5.0.0.93
