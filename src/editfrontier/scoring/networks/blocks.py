"""Small convolutional networks for 64-pixel images: a residual one and an Inception-style one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

POOLINGS = ("average", "average_max", "flatten")
MAP_SIZE = 8
FLAT_CHANNELS = 32


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int = 1) -> None:
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        super().__init__(
            nn.Conv2d(inputs, outputs, (height, width), stride, (height // 2, width // 2), bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


class ResidualBlock(nn.Module):
    """Basic block of ResNet (He et al. 2016) with a projection where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, outputs, 3, stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        self.skip: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.skip(x) + self.second(self.first(x)))


class ResidualNet(nn.Module):
    """ResNet for images of 64 pixels: unshuffled stem (no pixel is dropped), stages at 32, 16, 8 pixels, linear head.

    widths: channels of the three stages. blocks: residual blocks of each stage. outputs: size of the result.
    pooling: "average"; "average_max" (small details survive); "flatten" (positions survive; images of 64 pixels only).
    """

    def __init__(self, outputs: int, widths: Sequence[int], blocks: Sequence[int], pooling: str) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"pooling {pooling!r} is unknown, expected one of {POOLINGS}")
        self.pooling = pooling
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), ConvNorm(12, widths[0], 3))
        layers: list[nn.Module] = []
        channels = widths[0]
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for block in range(count):
                layers.append(ResidualBlock(channels, width, 2 if stage and not block else 1))
                channels = width
        self.stages = nn.Sequential(*layers)
        features = {"average": channels, "average_max": 2 * channels, "flatten": FLAT_CHANNELS * MAP_SIZE**2}[pooling]
        self.squeeze: nn.Module = ConvNorm(channels, FLAT_CHANNELS, 1) if pooling == "flatten" else nn.Identity()
        self.head = nn.Linear(features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """x: float [B, 3, 64, 64] in [-1, 1] -> [B, outputs]."""
        x = self.squeeze(self.stages(self.stem(x)))
        if self.pooling == "flatten":
            return self.head(x.flatten(1))
        if self.pooling == "average":
            return self.head(x.mean((2, 3)))
        return self.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))


class InceptionBlock(nn.Module):
    """Parallel branches of one, two and three convolutions and a pooled one (Szegedy et al. 2016), concatenated."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.point = ConvNorm(inputs, width, 1)
        self.small = nn.Sequential(ConvNorm(inputs, width // 2, 1), ConvNorm(width // 2, width, 3))
        self.large = nn.Sequential(
            ConvNorm(inputs, width // 2, 1),
            ConvNorm(width // 2, width // 2, (1, 5)),
            ConvNorm(width // 2, width, (5, 1)),
        )
        self.pooled = nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), ConvNorm(inputs, width, 1))
        self.channels = 4 * width

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.point(x), self.small(x), self.large(x), self.pooled(x)], 1)


class InceptionReduction(nn.Module):
    """Halves the map: a strided convolution and a maximum pooling, concatenated."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.conv = ConvNorm(inputs, width, 3, 2)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.channels = inputs + width

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.conv(x), self.pool(x)], 1)


class InceptionNet(nn.Module):
    """Inception-style trunk for images of 64 pixels; its averaged last map is the feature vector of FID and KID.

    width: base channels. features: length of the feature vector.
    """

    def __init__(self, width: int, features: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.PixelUnshuffle(2), ConvNorm(12, 2 * width, 3)]
        channels = 2 * width
        for _ in range(3):
            reduction = InceptionReduction(channels, width)
            block = InceptionBlock(reduction.channels, width)
            layers += [reduction, block]
            channels = block.channels
        layers += [ConvNorm(channels, features, 1)]
        self.trunk = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """x: float [B, 3, 64, 64] in [-1, 1] -> [B, features], not negative."""
        return self.trunk(x).mean((2, 3))
