"""Devices of networks, and the precision of float32 on them."""

from __future__ import annotations

from editfrontier.base.errors import UserError


def full_float32() -> None:
    """Compute float32 convolutions with all digits of float32, equally in each run.

    On cards with TF32 (A100 and later) PyTorch by default multiplies with 10 bits instead of 23, which is no better
    than float16, and autoencoders and evaluators run in float32 because of these bits. cuDNN may sum in another order
    in each run, so that a repeated job would give other last digits.
    """
    import torch

    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True


def choose_device(name: str) -> str:
    """Return the device of networks ("auto": a GPU if there is one), and set their precision on a GPU.

    Raises:
        UserError: the name is no device, or a GPU and there is none.
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
