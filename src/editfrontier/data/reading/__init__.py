"""What data sets share: reading, choosing and writing."""
