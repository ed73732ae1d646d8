"""A plain 3D network for volumes and cubes, and two decoders that make label maps of its features."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from workbench.errors import InvalidParameter


def layer(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv3d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm3d(outputs), nn.ReLU()]


class VGG3D(nn.Module):
    """(B, C, X, Y, Z) -> features of every level, (B, base 2^l, X / 2^l, ...), l from 0 to depth - 1.

    A level is `convs` 3-wide convolutions with batch norm and ReLU; between levels the sides are halved by
    max-pooling. Source: after VGG, arXiv 1409.1556; widths and norm are inferred.
    """

    def __init__(self, channels: int, base: int, depth: int, convs: int) -> None:
        super().__init__()
        self.widths = [base * 2**level for level in range(depth)]
        self.levels = nn.ModuleList()
        for inputs, outputs in pairwise([channels, *self.widths]):
            layers = layer(inputs, outputs) + [part for _ in range(convs - 1) for part in layer(outputs, outputs)]
            self.levels.append(nn.Sequential(*([nn.MaxPool3d(2)] if self.levels else []), *layers))

    @property
    def width(self) -> int:
        return self.widths[-1]

    def forward(self, volume: Tensor) -> list[Tensor]:
        features = [volume]
        for level in self.levels:
            features.append(level(features[-1]))
        return features[1:]

    def pooled(self, volume: Tensor) -> Tensor:
        """The mean of the last features, (B, width)."""
        return self(volume)[-1].flatten(2).mean(2)


def checked_depth(sides: tuple[int, ...], depth: int) -> None:
    """Raises InvalidParameter where sides cannot be halved so often."""
    if min(sides) < 2 ** (depth - 1):
        found = f"{' x '.join(map(str, sides))} voxels at depth={depth}"
        remedy = "choose fewer levels, larger volumes or a smaller gap"
        raise InvalidParameter("depth", "sides that can be halved between all levels", found, remedy)


class UNetDecoder(nn.Module):
    """Features of every level -> logits (B, outputs, X, Y, Z): transposed convolutions double the sides, the level's
    features stand beside, one convolution follows."""

    def __init__(self, widths: list[int], outputs: int) -> None:
        super().__init__()
        steps = list(pairwise(widths[::-1]))
        self.grow = nn.ModuleList(nn.ConvTranspose3d(wide, out, 2, 2) for wide, out in steps)
        self.join = nn.ModuleList(nn.Sequential(*layer(2 * out, out)) for _, out in steps)
        self.head = nn.Conv3d(widths[0], outputs, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        values = features[-1]
        for grow, join, skip in zip(self.grow, self.join, features[-2::-1]):
            values = join(torch.cat([grow(values), skip], 1))
        return self.head(values)


class DUCDecoder(nn.Module):
    """The last features (B, W, x, y, z) -> logits (B, outputs, r x, r y, r z) by one convolution to r^3 channels for
    each output, laid out as r x r x r voxels; r = 2^(depth - 1).

    Few weights of its own, so the encoder has to know. Source: dense upsampling convolution, arXiv 1702.08502; its
    kernel of one voxel is inferred.
    """

    def __init__(self, widths: list[int], outputs: int) -> None:
        super().__init__()
        self.factor = 2 ** (len(widths) - 1)
        self.spread = nn.Conv3d(widths[-1], outputs * self.factor**3, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        return shuffled(self.spread(features[-1]), self.factor)


def shuffled(values: Tensor, factor: int) -> Tensor:
    """(B, C r^3, x, y, z) -> (B, C, r x, r y, r z): channels laid out as voxels, r = `factor`, the last axis fastest.

    >>> shuffled(torch.arange(8.0).view(1, 8, 1, 1, 1), 2)[0, 0].flatten()
    tensor([0., 1., 2., 3., 4., 5., 6., 7.])
    """
    count, _, x, y, z = values.shape
    spread = values.view(count, -1, factor, factor, factor, x, y, z).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return spread.reshape(count, -1, factor * x, factor * y, factor * z)
