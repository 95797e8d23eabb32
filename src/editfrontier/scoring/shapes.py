"""Shapes that metrics and evaluators share. Imports torch, so that light modules import it for type checking only."""

from jaxtyping import Bool, Float, Float64, UInt8
from torch import Tensor

Images = UInt8[Tensor, "batch 3 height width"]
Masks = Bool[Tensor, "batch 1 height width"]
Maps = Float[Tensor, "batch height width"]
Embeddings = Float[Tensor, "batch dim"]
Values = Float[Tensor, " batch"]
Exact = Float64[Tensor, " batch"]
"""One value an image that is computed in float64."""
