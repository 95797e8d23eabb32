"""What each metric is: name, unit, direction, range, source. Imports nothing heavy, so that workflows may read it."""

from __future__ import annotations

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.scoring.metrics.drag_registry import DRAG_METRICS
from editfrontier.scoring.metrics.drift_registry import DRIFT_METRICS
from editfrontier.scoring.metrics.metric import Metric
from editfrontier.scoring.metrics.region_registry import REGION_METRICS
from editfrontier.scoring.metrics.truth_registry import CHANGED_LEVELS, TRUTH_METRICS
from editfrontier.scoring.metrics.vqa_registry import VQA_METRICS

__all__ = ["CHANGED_LEVELS", "METRICS", "PSNR_CAP", "Metric", "get_metric"]

PSNR_CAP = 60.0
"""dB. An RMS error of 0.255 grey levels (one level in 6.5% of the values): nobody sees it."""

_ALL = (
    Metric(
        "id_sim",
        "ID sim",
        "",
        "higher",
        (-1.0, 1.0),
        "fidelity",
        "Cosine of the identity embeddings of the source and the edited image.",
        "ArcFace, Deng et al. 2019; raw cosine, not rescaled.",
        needs="identity",
    ),
    Metric(
        "lpips_bg_masked",
        "LPIPS bg (masked)",
        "",
        "lower",
        (0.0, None),
        "fidelity",
        "LPIPS of source and edit, both with everything but the background filled with mid grey; mean over the whole "
        "image, so the value scales with the share of background.",
        "LPIPS, Zhang et al. 2018; masking as in the evaluation of DragFlow, arXiv 2510.02253.",
        needs="lpips",
    ),
    Metric(
        "lpips_bg_spatial",
        "LPIPS bg (spatial)",
        "",
        "lower",
        (0.0, None),
        "fidelity",
        "LPIPS map of source and edit averaged over the background eroded by 16 px at 256 px (scaled to the image).",
        "LPIPS, Zhang et al. 2018; the spatial map, as its authors recommend for regions.",
        needs="lpips",
    ),
    Metric(
        "psnr_bg",
        "PSNR bg",
        "dB",
        "higher",
        (0.0, PSNR_CAP),
        "fidelity",
        f"PSNR over the background's pixels only, of each image by itself, at most {PSNR_CAP:g} dB.",
        "Peak 255; no masked zeros in the mean.",
    ),
    Metric(
        "ssim_bg",
        "SSIM bg",
        "",
        "higher",
        (-1.0, 1.0),
        "fidelity",
        "SSIM map averaged over the background, with the source's pixels inside the edit mask so that the window "
        "sees no edit from across the border.",
        "Wang et al. 2004: Gaussian window of 11 px, sigma 1.5, mean over RGB.",
    ),
    Metric(
        "lpips_source",
        "LPIPS",
        "",
        "lower",
        (0.0, None),
        "fidelity",
        "LPIPS of the source and the edited image, whole images; for a reconstruction the error that is seen.",
        "LPIPS, Zhang et al. 2018.",
        needs="lpips",
    ),
    Metric(
        "psnr_source",
        "PSNR",
        "dB",
        "higher",
        (0.0, PSNR_CAP),
        "fidelity",
        f"PSNR of the whole edited image against its source, of each image by itself, at most {PSNR_CAP:g} dB.",
        "Peak 255.",
    ),
    Metric(
        "ssim_source",
        "SSIM",
        "",
        "higher",
        (-1.0, 1.0),
        "fidelity",
        "Mean SSIM of the whole edited image and its source.",
        "Wang et al. 2004: Gaussian window of 11 px, sigma 1.5, mean over RGB.",
    ),
    Metric(
        "latent_error",
        "Latent error",
        "",
        "lower",
        (0.0, None),
        "fidelity",
        "Root mean squared difference of the source's latents and the reconstructed ones, before they are decoded.",
        "Theorem 1 of the paper bounds the error of the image by it; latents of unit scale.",
        recorded=True,
    ),
    Metric(
        "clip_cos",
        "CLIP cos",
        "",
        "higher",
        (-1.0, 1.0),
        "controllability",
        "Cosine of the CLIP embeddings of the edited image and the target caption.",
        "CLIP, Radford et al. 2021; called CLIP-T in MagicBrush.",
        needs="clip",
    ),
    Metric(
        "clip_score",
        "CLIPScore",
        "",
        "higher",
        (0.0, 2.5),
        "controllability",
        "2.5 max(CLIP cosine, 0) of the edited image and the target caption, clipped for each image by itself.",
        "CLIPScore, Hessel et al. 2021, without the prompt prefix.",
        needs="clip",
    ),
    Metric(
        "clip_directional",
        "CLIP dir",
        "",
        "higher",
        (-1.0, 1.0),
        "controllability",
        "Cosine of the change between the images and the change between the captions in CLIP space; 0 when the "
        "image does not change.",
        "StyleGAN-NADA, Gal et al. 2021; InstructPix2Pix, Brooks et al. 2023.",
        needs="clip",
    ),
    Metric(
        "success",
        "Success",
        "",
        "higher",
        (0.0, 1.0),
        "controllability",
        "1 when the attribute classifier says that the attribute has the desired value (probability 0.5), else 0.",
        "Prompt satisfaction by an attribute classifier.",
        binary=True,
        needs="attributes",
    ),
    *VQA_METRICS,
    *DRAG_METRICS,
    *REGION_METRICS,
    *DRIFT_METRICS,
    Metric(
        "quality",
        "Quality",
        "",
        "higher",
        (0.0, 100.0),
        "quality",
        "No-reference quality score of the edited image.",
        "A regressor of known corruption severity at the micro scale; MUSIQ (Ke et al. 2021) at the paper scale.",
        needs="quality",
    ),
    Metric(
        "artifact",
        "Artifacts",
        "",
        "lower",
        (0.0, 1.0),
        "quality",
        "1 when the artifact score exceeds the threshold that flags 5% of unedited sources, else 0.",
        "Threshold by split-conformal calibration on the task's sources.",
        binary=True,
        needs="quality",
    ),
    Metric(
        "fid",
        "FID",
        "",
        "lower",
        (0.0, None),
        "quality",
        "Frechet distance between Gaussians fitted to features of the edited images and of reference images. Biased "
        "upward at small n: read it beside the rows source and reference.",
        "Heusel et al. 2017; covariances in float64.",
        per_image=False,
        needs="features",
    ),
    Metric(
        "kid",
        "KID",
        "1e-3",
        "lower",
        (None, None),
        "quality",
        "1000 times the unbiased squared maximum mean discrepancy of features with a cubic kernel; may be negative.",
        "Binkowski et al. 2018.",
        per_image=False,
        needs="features",
    ),
    *TRUTH_METRICS,
    Metric(
        "forwards",
        "NFE",
        "",
        "lower",
        (0.0, None),
        "cost",
        "Samples that went through the denoiser for one case, those of the inversion included; guidance doubles it.",
        "Counted at the network, not taken from a formula.",
        recorded=True,
    ),
    Metric(
        "seconds",
        "Seconds",
        "s",
        "lower",
        (0.0, None),
        "cost",
        "A case's share of its batch's wall time, without loading the model; an inversion that was found in the cache "
        "counts what it took when it was computed.",
        "On the machine that the record names; comparable within one run only.",
        recorded=True,
    ),
    Metric(
        "inversion_seconds",
        "Inversion",
        "s",
        "lower",
        (0.0, None),
        "cost",
        "The part of a case's seconds that its inversion took, which is spent once and saved by every later edit of "
        "the image with the same inversion.",
        "On the machine that computed it.",
        recorded=True,
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
"""All metrics by name, in the order of tables."""


def get_metric(name: str) -> Metric:
    """Return the metric of this name; raise `UserError` with the nearest known name if there is none."""
    if name not in METRICS:
        raise UserError(f"metric '{name}': unknown.{did_you_mean(name, METRICS)} Correct the name in the config.")
    return METRICS[name]
