"""Cost of an edit, as the records of the edit jobs say."""

from __future__ import annotations

from functools import partial

from editfrontier.scoring.metrics.metric import Metric

_cost = partial(Metric, group="cost", direction="lower", range=(0.0, None), recorded=True)

METRICS = (
    _cost(
        name="forwards",
        label="NFE",
        description="Samples that went through the denoiser for one case, samples of the inversion included; guidance "
        "doubles it.",
        source="Counted at the network, not taken from a formula.",
        decimals=0,
    ),
    _cost(
        name="seconds",
        label="Seconds",
        description="A case's share of its batch's wall time, without loading the model; an inversion that was "
        "found in the cache counts what it took when it was computed.",
        source="On the machine that the record names; comparable within one run only.",
        unit="s",
        paper="time",
    ),
    _cost(
        name="inversion_seconds",
        label="Inversion",
        description="The part of a case's seconds that its inversion took, which is spent once and saved by every "
        "later edit of the image with the same inversion.",
        source="On the machine that computed it.",
        unit="s",
    ),
)
