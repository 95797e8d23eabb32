"""What editors are made of: samplers, guidance, blending, and what reaches into the networks."""
