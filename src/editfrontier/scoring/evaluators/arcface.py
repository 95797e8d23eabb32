"""ArcFace (Deng et al., CVPR 2019) as published: a face detector, alignment by five points, and an IR-SE50 network.

The weights have the layout of InsightFace_Pytorch; facexlib publishes them as recognition_arcface_ir_se50.pth.
The detector is YuNet, which OpenCV runs; its file is face_detection_yunet_2023mar.onnx of OpenCV's model zoo.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from editfrontier.base.errors import FETCH_WEIGHTS, UserError
from editfrontier.scoring.networks.common import NetworkEvaluator, check_images, load_checkpoint, read_config, scale
from editfrontier.scoring.shapes import Embeddings, Images

ARCHITECTURE = "arcface_ir_se50"
SIDE = 112
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Where eyes, nose and corners of the mouth (first those left in the image) lie in an aligned face of 112 pixels."""

STAGES = ((64, 3), (128, 4), (256, 14), (512, 3))
"""Channels and number of blocks of each stage of the network."""

CONFIDENCE = 0.6
MARGIN = 0.5
"""Detectors miss faces that fill the image, as in CelebA-HQ and FFHQ. Where none is found, the image is searched again
with a border of this share of its sides."""


# Network --------------------------------------------------------------------------------------------------------------


class _Squeeze(nn.Module):
    """Squeeze and excitation (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if inputs != outputs:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            _Squeeze(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut_layer(x) + self.res_layer(x)


class ArcFaceNet(nn.Module):
    """IR-SE50: float [B, 3, 112, 112] in [-1, 1] -> [B, 512]. `stages` is smaller in tests only."""

    def __init__(self, stages: tuple[tuple[int, int], ...] = STAGES) -> None:
        super().__init__()
        width = stages[0][0]
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.PReLU(width)
        )
        blocks, channels = [], width
        for outputs, count in stages:
            for number in range(count):
                blocks.append(_Block(channels, outputs, 1 if number else 2))
                channels = outputs
        self.body = nn.Sequential(*blocks)
        side = SIDE // 2 ** len(stages)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Dropout(0.6),
            nn.Flatten(),
            nn.Linear(channels * side * side, 512),
            nn.BatchNorm1d(512),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.output_layer(self.body(self.input_layer(x)))


# Alignment ------------------------------------------------------------------------------------------------------------


def similarity(points: npt.NDArray[np.float64], template: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the similarity transform [2, 3] that maps points [N, 2] closest to a template (Umeyama, 1991)."""
    middle, aim = points.mean(0), template.mean(0)
    centred, wanted = points - middle, template - aim
    u, singular, vt = np.linalg.svd(wanted.T @ centred / len(points))
    sign = np.array([1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    factor = (singular * sign).sum() / max(float((centred**2).sum() / len(points)), 1e-12)
    return np.column_stack([factor * rotation, aim - factor * rotation @ middle])


def align(images: Tensor, landmarks: Tensor) -> Tensor:
    """Cut faces out: uint8 [B, 3, H, W] and landmarks [B, 5, 2] (x, y) -> uint8 [B, 3, 112, 112], bilinear, black
    beyond the image; black where the landmarks are NaN."""
    faces = np.zeros((len(images), SIDE, SIDE, 3), dtype=np.uint8)
    pixels = images.permute(0, 2, 3, 1).cpu().numpy()
    for row, points in enumerate(landmarks.double().cpu().numpy()):
        if np.isfinite(points).all():
            transform = similarity(points, TEMPLATE)
            faces[row] = cv2.warpAffine(np.ascontiguousarray(pixels[row]), transform, (SIDE, SIDE), borderValue=0)
    return torch.from_numpy(faces).permute(0, 3, 1, 2).contiguous()


class YuNet:
    """OpenCV's face detector YuNet (Wu et al., 2023): the five points of the largest face of an image."""

    def __init__(self, path: Path) -> None:
        try:
            self.network = cv2.FaceDetectorYN.create(str(path), "", (SIDE, SIDE), CONFIDENCE)
        except cv2.error as error:
            raise UserError(
                f"{path}: cannot be read as the face detector YuNet ({str(error).strip().splitlines()[-1]}). Delete it "
                f"and run {FETCH_WEIGHTS}."
            ) from None

    def __call__(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64] | None:
        """RGB uint8 [H, W, 3] -> [5, 2] (x, y), in the order of `TEMPLATE`; None if no face is found."""
        height, width = image.shape[:2]
        landmarks = self._largest(image)
        if landmarks is not None:
            return landmarks
        top, left = round(MARGIN * height), round(MARGIN * width)
        framed = cv2.copyMakeBorder(image, top, top, left, left, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        landmarks = self._largest(np.asarray(framed, dtype=np.uint8))
        return None if landmarks is None else landmarks - (left, top)

    def _largest(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64] | None:
        self.network.setInputSize((image.shape[1], image.shape[0]))
        faces = self.network.detect(np.ascontiguousarray(image[..., ::-1]))[1]  # OpenCV takes BGR
        if faces is None or not len(faces):
            return None
        largest = max(faces, key=lambda face: face[2] * face[3])  # x, y, width, height, five points, score
        return np.asarray(largest[4:14], dtype=np.float64).reshape(5, 2)


EYES, MOUTH = 0.125, 0.09
"""Half the distances of the eyes and of the corners of the mouth in an aligned image, in its sides."""

ALIGNED = np.array([[0.5 - EYES, 0.472], [0.5 + EYES, 0.472], [0.5, 0.61], [0.5 - MOUTH, 0.75], [0.5 + MOUTH, 0.75]])
"""About where the five points of a frontal face lie in an image that was aligned as in CelebA-HQ and FFHQ, in sides of
it: the square has twice the side max(2 e, 1.8 m) for the distances e of the eyes and m from eyes to mouth, and its
centre lies m / 10 below the eyes. Nose and width of the mouth are guesses."""


def aligned_points(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the five points of an aligned image [H, W, 3] without looking at it, instead of a detector."""
    return ALIGNED * (image.shape[1], image.shape[0]) - 0.5


# Evaluator ------------------------------------------------------------------------------------------------------------


class ArcFaceEvaluator(NetworkEvaluator):
    """Maps the face of an image to a unit vector. Edits are aligned by the face of their source.

    detector: RGB uint8 [H, W, 3] -> landmarks [5, 2] or None. channels: "rgb" or "bgr", as the network was trained.
    """

    def __init__(
        self, network: nn.Module, detector: Any, device: str = "cpu", precision: str = "fp32", channels: str = "rgb"
    ) -> None:
        super().__init__(network, device, precision)
        self.detector, self.channels = detector, channels

    @classmethod
    def load(cls, path: Path, device: str = "cpu", precision: str = "fp32") -> ArcFaceEvaluator:
        """Load the network and its detector.

        Args:
            path: folder with config.json (keys architecture, weights, detector, and channels if they are "bgr") and the
                two files that it names. That the published network takes RGB is what its users do, not documented.
                With the detector "aligned", every image is taken for one of CelebA-HQ or FFHQ (`aligned_points`).
            device: where the network runs; the detector runs on the CPU.
            precision: "fp32" or "bf16".

        Raises:
            UserError: a file is missing or has other content.
        """
        folder = Path(path)
        config = read_config(folder, ARCHITECTURE)
        network = load_checkpoint(ArcFaceNet, folder / str(config.get("weights")), device)
        name = str(config.get("detector"))
        detector = aligned_points if name == "aligned" else YuNet(folder / name)
        return cls(network, detector, device, precision, config.get("channels", "rgb"))

    def landmarks(self, images: Images) -> Float[Tensor, "batch 5 2"]:
        """Return points (x, y) of the largest face of each image, NaN where there is none."""
        check_images(images)
        pixels = images.permute(0, 2, 3, 1).cpu().numpy()
        faces = [self.detector(image) for image in pixels]
        nothing = np.full((5, 2), np.nan)
        return torch.from_numpy(np.stack([nothing if face is None else face for face in faces])).float()

    def embed(self, images: Images, landmarks: Float[Tensor, "batch 5 2"] | None = None) -> Embeddings:
        """Embed faces.

        Args:
            images: uint8 [B, 3, H, W].
            landmarks: [B, 5, 2] of the faces (for an edit, of its source); None = detect them.

        Returns:
            [B, 512] unit vectors, NaN where the landmarks are.
        """
        check_images(images)
        points = self.landmarks(images) if landmarks is None else landmarks
        faces = align(images, points)
        if self.channels == "bgr":
            faces = faces.flip(1)
        vectors = self.run(lambda x: functional.normalize(self.network(scale(x)).float(), dim=1), faces)
        vectors[~points.flatten(1).isfinite().all(1)] = torch.nan
        return vectors
