"""Images in figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.axes import Axes


def draw_image(axes: Axes, image: npt.NDArray[np.uint8] | None, absent: str = "failed") -> None:
    """Draw an image [H, W, 3] without axes, or a grey field with a word where there is none."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if image is None:
        axes.set_facecolor("#EFEFEF")
        axes.text(0.5, 0.5, absent, transform=axes.transAxes, ha="center", va="center", fontsize=7, color="#777777")
        axes.set_aspect("equal", adjustable="box")
    else:
        axes.imshow(image, interpolation="nearest")
