"""EditFrontier: experiments on the controllability-fidelity frontier of diffusion-based image editing."""

__version__ = "0.1.0"
