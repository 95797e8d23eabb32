"""What the metrics of visual question answering are. Imports nothing heavy; `registry` takes them up."""

from __future__ import annotations

from editfrontier.scoring.metrics.metric import Metric

VQA_METRICS = (
    Metric(
        "vqa_score",
        "VQA score",
        "",
        "higher",
        (0.0, 1.0),
        "controllability",
        'Probability of "yes" against "no" when a model for visual question answering is asked whether the edit '
        "shows the target caption.",
        "VQAScore, Lin et al. 2024, arXiv 2404.01291; BLIP instead of CLIP-FlanT5.",
        needs="vqa",
    ),
    Metric(
        "vqa_choice",
        "VQA choice",
        "",
        "higher",
        (0.0, 1.0),
        "controllability",
        "1 when the model finds the target caption more probable than the source caption of the edited image, else 0.",
        "`vqa_score` of both captions; a forced choice, so that no threshold has to be calibrated.",
        binary=True,
        needs="vqa",
    ),
)
