"""Which weights are meant, where they are, how they are loaded."""
