"""Where networks run, and what float32 means there."""

from __future__ import annotations

from editfrontier.base.errors import UserError


def full_float32() -> None:
    """Let convolutions in float32 have float32's digits, the same ones each time.

    On cards that have TF32 (A100 and later) PyTorch by default multiplies them with 10 bits instead of 23, which is no
    better than float16. Autoencoders and evaluators are kept in float32 for the sake of these bits. cuDNN may add up
    in another order in each run, so that a job that ran again would give other last digits.
    """
    import torch

    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True


def choose_device(name: str) -> str:
    """Return the device that networks run on ("auto": a GPU if there is one), after saying how they compute there.

    Raises:
        UserError: it is a GPU and there is none, or no device.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda"):
        if not torch.cuda.is_available():
            raise UserError(f"device {name}: this machine has no usable CUDA device. Take `cpu` or `auto`.")
        full_float32()
    try:
        torch.device(name)
    except RuntimeError:
        raise UserError(f"device {name}: is unknown, expected cpu, cuda, cuda:N, mps or auto. Correct it.") from None
    return name
