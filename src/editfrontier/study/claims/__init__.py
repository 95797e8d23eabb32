"""Tests of the claims, grouped by the part of the paper; `study.claim` defines a test."""
