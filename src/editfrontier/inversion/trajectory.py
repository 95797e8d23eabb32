"""The records of all inversions: settings, the trajectory, and one run of a method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from editfrontier.base.errors import UserError
from editfrontier.diffusion.flow import FlowText
from editfrontier.diffusion.sampling import TextEmbeddings

Direction = Literal["inversion", "reconstruction"]
OnEvaluation = Callable[[float, Direction], None]
AfterStep = Callable[[int, Tensor], Tensor]


@dataclass(frozen=True)
class Trajectory:
    """The result of an inversion.

    Attributes:
        latents: [B, C, h, w] float32 each, from the noisiest to the clean ones, one for each of `times`; only the
            noisiest if the others were not kept.
        times: descending. Timesteps on a diffusion model, -1 after the last (for `dpm_solver` they are fractions and
            end at 0); times in [0, 1] on a flow model, ending at 0.
        extras: further results of a method, [B, ...] each; see `diffusion.null_text`.
        forwards: samples that passed the denoiser for each image.
        seconds: for each image, its share of the wall time when the inversion was computed.
    """

    latents: list[Tensor]
    times: list[float]
    extras: dict[str, Tensor] = field(default_factory=dict)
    forwards: int = 0
    seconds: tuple[float, ...] = ()


@dataclass(frozen=True)
class TrajectorySettings:
    """Everything that decides a trajectory beside image, weights and text.

    Attributes:
        method: a key of `inversion.METHODS`.
        steps: steps of the whole schedule, from noise to clean; at least 1.
        guidance: scale w of classifier-free guidance (`ddim_guided`, `null_text`), the embedded scale on a flow model.
        start: number of the noisiest levels that are left out; the inversion ends at this place of the schedule.
        gamma: pull of RF-Inversion towards noise, in [0, 1]; 0.5 (RF-Inversion).
        inner_steps: most updates of the null-text embedding in a step; 10 (null-text inversion).
        learning_rate: rate of these updates in the first step; it falls to half over the schedule; 1e-2 (null-text
            inversion, whose rate falls by a hundredth in each of 50 steps).
    """

    method: str
    steps: int
    guidance: float = 1.0
    start: int = 0
    gamma: float = 0.5
    inner_steps: int = 10
    learning_rate: float = 1e-2

    def __post_init__(self) -> None:
        where = f"inversion '{self.method}'"
        if self.steps < 1:
            raise UserError(f"{where}: {self.steps} steps, expected at least 1. Correct the number of steps.")
        if not 0 <= self.start < self.steps:
            raise UserError(
                f"{where}: start {self.start} of {self.steps} steps, expected one of 0 to {self.steps - 1}. Correct it."
            )
        if not 0.0 <= self.gamma <= 1.0:
            raise UserError(f"{where}: gamma {self.gamma}, expected in [0, 1]. Correct the value.")
        if self.inner_steps < 1:
            raise UserError(f"{where}: {self.inner_steps} inner steps, expected at least 1. Correct the number.")


@dataclass
class Run:
    """One run of a method on a batch, in one direction.

    Attributes:
        model: a diffusers pipeline.
        settings: settings of the inversion.
        text: embeddings of B prompts.
        direction: direction of the run.
        guidance: scale w of this direction.
        noise: [B, C, h, w] that RF-Inversion pulls towards.
        on_evaluation: called with the time of every network call before it is made.
        joint_attention_kwargs: arguments of the attention processors of a flow model.
        forwards: samples that have passed the network for each image.
    """

    model: Any
    settings: TrajectorySettings
    text: TextEmbeddings | FlowText
    direction: Direction
    guidance: float
    noise: Tensor | None = None
    on_evaluation: OnEvaluation | None = None
    joint_attention_kwargs: dict[str, Any] | None = None
    forwards: int = 0

    def note(self, time: float, forwards: int = 1) -> None:
        """Count a network call at a time, and report it to the caller."""
        self.forwards += forwards
        if self.on_evaluation is not None:
            self.on_evaluation(time, self.direction)
