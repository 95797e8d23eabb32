"""Reconstruction on a flow model (paper, Table 2): invert the source, sample it back, measure the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from editfrontier.editing.editor import EditBatch, Editor, Measured, check_range


@dataclass(frozen=True)
class FlowReconstructionParams:
    """Hyperparameters of the reconstruction on a flow model.

    Attributes:
        method: "fireflow" (the paper), "euler" (its row of 50 first-order steps; E8), "midpoint", "rf_solver",
            "rf_inversion", or "none": the autoencoder alone.
        num_inference_steps: in each direction; 8 (FireFlow; the paper's rows are 8, 16 and 32, and 50 of first order).
        guidance_scale: embedded guidance, at least 0; 1 (FireFlow's setting for reconstruction).
        prompt: "source" caption (FireFlow's setting for reconstruction) or "empty".
        gamma: pull of RF-Inversion to noise, in [0, 1]; 0.5 (RF-Inversion).
        eta: pull of RF-Inversion back to the source, in [0, 1]; 1 (diffusers' RF-Inversion pipeline). It shows the
            source to the sampler; 0 leaves what the inversion alone can do.
        eta_stop: share of the steps with that pull, in [0, 1]; 0.25 (RF-Inversion).
    """

    method: Literal["fireflow", "euler", "midpoint", "rf_solver", "rf_inversion", "none"] = "fireflow"
    num_inference_steps: int = 8
    guidance_scale: float = 1.0
    prompt: Literal["source", "empty"] = "source"
    gamma: float = 0.5
    eta: float = 1.0
    eta_stop: float = 0.25

    def __post_init__(self) -> None:
        check_range(self, "num_inference_steps", 1, 1000)
        check_range(self, "guidance_scale", 0.0)
        for name in ("gamma", "eta", "eta_stop"):
            check_range(self, name, 0.0, 1.0)


def edit(model: Any, batch: EditBatch, params: FlowReconstructionParams) -> Measured:
    """Reconstruct a batch. The cache is not used, so that the seconds count both directions."""
    from editfrontier import inversion
    from editfrontier.diffusion import sampling

    clean = sampling.encode(model, batch.images)
    restored = clean
    if params.method != "none":
        prompts = batch.source_captions if params.prompt == "source" else [""] * len(batch.images)
        text = inversion.embed(model, prompts)
        pulled = params.method == "rf_inversion"
        back: dict[str, Any] = {"eta": params.eta, "stop": params.eta_stop} if pulled else {}
        common = (params.method, params.num_inference_steps, text)
        guidance = params.guidance_scale
        trajectory = inversion.invert(model, clean, *common, guidance=guidance, images=batch.images, gamma=params.gamma)
        restored = inversion.reconstruct(model, trajectory, *common, guidance=guidance, **back)
    return Measured(sampling.decode(model, restored), {"latent_error": inversion.latent_error(clean, restored)})


EDITOR = Editor(
    name="flow_reconstruction",
    label="Inversion of the flow model",
    colour="#6B6B6B",
    marker="p",
    params=FlowReconstructionParams,
    edit=edit,
    needs=frozenset({"source_caption"}),
    model="flux",
)
