"""The parts of editors: samplers, guidance, blending, control of attention, features."""
