"""Drags: regions of an image that move by affine maps, and what the drag editors share.

Affine maps are 2x3 matrices on pixel coordinates (x, y), x to the right, y downwards, whole numbers at pixel centres.
"""
