"""Estimate what a run takes before it starts: jobs, GPU hours, disk, downloads, and what is missing."""
