"""Metrics of edits. The registry is light; the families import torch and are loaded where images are scored.

Per-image functions take tensors of a batch and return one value an image, never pooled over the batch.
"""

from editfrontier.scoring.metrics.registry import CHANGED_LEVELS, METRICS, PSNR_CAP, Metric, get_metric

__all__ = ["CHANGED_LEVELS", "METRICS", "PSNR_CAP", "Metric", "get_metric"]
