"""Mean and covariance of reference features that others published, which FID can be taken to without their images.

Files of pytorch-fid, clean-fid and the code of Heusel et al. hold the arrays `mu` [D] and `sigma` [D, D]. They do not
say how the images were resized before the network, which moves FID as much as editors do (Parmar et al., CVPR 2022), so
that the config has to name the resizing, and the evaluator of the study has to do the same.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from editfrontier.base.errors import UserError
from editfrontier.base.files import write_bytes
from editfrontier.base.integrity.arrays import DAMAGED

Array = npt.NDArray[np.float64]
_KEYS = ("mu", "sigma")
_FIX = "Get the file again, or name another one by `reference.statistics`."


@dataclass(frozen=True)
class Moments:
    """mean: [D]. covariance: [D, D], symmetric. preprocessing: name of the resizing before the network."""

    mean: Array
    covariance: Array
    preprocessing: str

    def checked(self, evaluator: Any, dimensions: int, path: Path) -> dict[str, Array]:
        """Return the arrays for a file of sources; raise `UserError` if they are not of this evaluator's features.

        Args:
            evaluator: of features; `preprocessing` names its resizing.
            dimensions: of its features.
            path: that messages name.
        """
        expected = str(getattr(evaluator, "preprocessing", "micro"))
        if self.preprocessing != expected:
            raise UserError(
                f"{path}: its images were resized by '{self.preprocessing}', expected '{expected}' as the evaluator "
                "`features` does it: FID between two ways of resizing means nothing. Name a model of the same "
                "preprocessing in `evaluators.features`, or other statistics."
            )
        if len(self.mean) != dimensions:
            raise UserError(
                f"{path}: holds {len(self.mean)} features, expected {dimensions} as of the evaluator `features`. {_FIX}"
            )
        return {"reference_mean": self.mean, "reference_covariance": self.covariance}


def copy_moments(source: Path, preprocessing: str, out: Path) -> int:
    """Check a published file and write what `read_moments` reads; return the number of features.

    Args:
        source: .npz with `mu` [D] and `sigma` [D, D].
        preprocessing: how the images behind it were resized (`evaluators.inception.PREPROCESSING`).
        out: .npz to write.

    Raises:
        UserError: the file cannot be read, or holds no mean with its covariance.
    """
    try:
        with np.load(source, allow_pickle=False) as file:
            missing = [key for key in _KEYS if key not in file.files]
            if missing:
                raise UserError(
                    f"{source}: holds {', '.join(file.files) or 'nothing'}, expected the arrays mu and sigma. {_FIX}"
                )
            mean, covariance = (np.asarray(file[key], dtype=np.float64) for key in _KEYS)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{source}: no such file, expected published statistics of a reference. {_FIX}") from None
    except Exception as error:  # of numpy, zipfile and zlib, for a file that is none or is cut off
        raise UserError(f"{source}: not a readable .npz file ({error}). {_FIX}") from None
    _check(source, mean, covariance)
    buffer = io.BytesIO()
    np.savez(buffer, mu=mean, sigma=(covariance + covariance.T) / 2, preprocessing=np.array(preprocessing))
    write_bytes(out, buffer.getvalue())
    return len(mean)


def _check(source: Path, mean: Array, covariance: Array) -> None:
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise UserError(
            f"{source}: mu is {list(mean.shape)} and sigma {list(covariance.shape)}, expected [D] and [D, D]. {_FIX}"
        )
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise UserError(f"{source}: holds values that are not finite. {_FIX}")
    largest = float(np.abs(covariance).max())
    if np.abs(covariance - covariance.T).max() > 1e-4 * largest or (np.diag(covariance) < 0).any():
        raise UserError(f"{source}: sigma is no covariance (not symmetric, or a variance is negative). {_FIX}")


def read_moments(path: Path) -> Moments | None:
    """Read what `copy_moments` wrote; None if the path is a folder or holds images."""
    if path.is_dir():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            if not {*_KEYS, "preprocessing"} <= set(file.files):
                return None
            return Moments(file["mu"], file["sigma"], str(file["preprocessing"]))
    except DAMAGED:
        return None  # whoever reads the images says what is wrong
