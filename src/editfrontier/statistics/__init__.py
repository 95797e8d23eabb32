"""Statistics on scores: resampling, intervals, tests, curves, composites and groups."""
