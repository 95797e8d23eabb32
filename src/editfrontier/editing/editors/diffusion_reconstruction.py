"""Reconstruction on a diffusion model (paper, Table 2; E8): invert the source, sample it back, measure the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from editfrontier.base.errors import UserError
from editfrontier.editing.editor import EditBatch, Editor, Measured, check_range, check_sampling


@dataclass(frozen=True)
class DiffusionReconstructionParams:
    """Hyperparameters of the reconstruction on a diffusion model.

    Attributes:
        method: "ddim" (the paper names it; E8), "ddim_guided" (guidance in both directions), "null_text", "dpm_solver"
            (DPM-Solver++ 2M; TF-ICON makes 20 steps), "direct" (the trajectory itself, exact) or "none": the
            autoencoder alone.
        num_inference_steps: in each direction; 50 (the paper).
        guidance_scale: w, at least 1; 1, which DDIM inversion needs. It is the scale of the way back; `ddim_guided`
            inverts with it as well, and `null_text` fits its embeddings for it (7.5 in its paper).
        prompt: "source" caption (prompt-to-prompt) or "empty".
        inner_steps: most updates of the null-text embedding in a step, at least 1; 10 (null-text inversion).
    """

    method: Literal["ddim", "ddim_guided", "null_text", "dpm_solver", "direct", "none"] = "ddim"
    num_inference_steps: int = 50
    guidance_scale: float = 1.0
    prompt: Literal["source", "empty"] = "source"
    inner_steps: int = 10

    def __post_init__(self) -> None:
        check_sampling(self)
        check_range(self, "inner_steps", 1)
        if self.method in ("null_text", "ddim_guided") and self.guidance_scale == 1.0:
            raise UserError(
                f"hyperparameter 'guidance_scale': 1 makes '{self.method}' the same as 'ddim', expected more. "
                "Raise it, or use method ddim."
            )


def edit(model: Any, batch: EditBatch, params: DiffusionReconstructionParams) -> Measured:
    """Reconstruct a batch. The cache is not used, so that the seconds count both directions."""
    from editfrontier import inversion
    from editfrontier.diffusion import sampling

    clean = sampling.encode(model, batch.images)
    restored = clean
    if params.method != "none":
        prompts = batch.source_captions if params.prompt == "source" else [""] * len(batch.images)
        text = inversion.embed(model, prompts, params.guidance_scale != 1.0)
        common = (params.method, params.num_inference_steps, text)
        there = params.guidance_scale if params.method in ("ddim_guided", "null_text") else 1.0
        trajectory = inversion.invert(model, clean, *common, guidance=there, inner_steps=params.inner_steps)
        restored = inversion.reconstruct(model, trajectory, *common, guidance=params.guidance_scale)
    return Measured(sampling.decode(model, restored), {"latent_error": inversion.latent_error(clean, restored)})


EDITOR = Editor(
    name="diffusion_reconstruction",
    label="Inversion of the diffusion model",
    colour="#6B6B6B",
    marker="h",
    params=DiffusionReconstructionParams,
    edit=edit,
    needs=frozenset({"source_caption"}),
    model="text_to_image",
)
