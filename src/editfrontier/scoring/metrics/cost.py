"""What an edit costs, as the records of the edit jobs say."""

from __future__ import annotations

from editfrontier.scoring.metrics.metric import Metric

METRICS = (
    Metric(
        name="forwards",
        label="NFE",
        direction="lower",
        range=(0.0, None),
        group="cost",
        description="Samples that went through the denoiser for one case, those of the inversion included; guidance "
        "doubles it.",
        source="Counted at the network, not taken from a formula.",
        recorded=True,
        decimals=0,
    ),
    Metric(
        name="seconds",
        label="Seconds",
        direction="lower",
        range=(0.0, None),
        group="cost",
        description="A case's share of its batch's wall time, without loading the model; an inversion that was "
        "found in the cache counts what it took when it was computed.",
        source="On the machine that the record names; comparable within one run only.",
        unit="s",
        recorded=True,
        paper="time",
    ),
    Metric(
        name="inversion_seconds",
        label="Inversion",
        direction="lower",
        range=(0.0, None),
        group="cost",
        description="The part of a case's seconds that its inversion took, which is spent once and saved by every "
        "later edit of the image with the same inversion.",
        source="On the machine that computed it.",
        unit="s",
        recorded=True,
    ),
)
