"""The samplers of diffusers, limited to the timesteps and noise levels of a model's training."""

from __future__ import annotations

from typing import Any

from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from editfrontier.base.errors import UserError

LEAST_ALPHA_BAR = 2.0**-24
"""Betas rescaled to zero terminal SNR (Lin et al., WACV 2024) end at alpha_bar = 0, where neither log SNR nor an
estimate from predicted noise exists. The solvers of diffusers use this value there."""


class _Trained:
    """A scheduler within its training: alpha_bar above 0, timesteps below `num_train_timesteps`."""

    config: Any
    alphas_cumprod: Tensor
    timesteps: Tensor

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.alphas_cumprod = self.alphas_cumprod.clamp(min=LEAST_ALPHA_BAR)

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Set the timesteps, without an offset beyond the last trained one, as with as many steps as trained timesteps.

        Raises:
            UserError: there are more steps than trained timesteps.
        """
        trained = int(self.config.num_train_timesteps)
        if num_inference_steps > trained:
            raise UserError(
                f"hyperparameter 'num_inference_steps': {num_inference_steps}, expected at most {trained}, as many as "
                "the model was trained on (num_train_timesteps of its scheduler_config.json). Lower the number."
            )
        super().set_timesteps(num_inference_steps, device)  # type: ignore[misc]
        self.timesteps = self.timesteps - max(int(self.timesteps[0]) - (trained - 1), 0)


class TrainedDDIM(_Trained, DDIMScheduler):
    """`DDIMScheduler` within its training."""


class TrainedDDPM(_Trained, DDPMScheduler):
    """`DDPMScheduler` within its training."""
