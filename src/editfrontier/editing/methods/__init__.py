"""What a single editor brings along."""
