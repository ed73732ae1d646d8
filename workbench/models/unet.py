"""The small U-Net of the segmentors, in two and three dimensions."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
NORM = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
POOL = {2: F.max_pool2d, 3: F.max_pool3d}
LINEAR = {2: "bilinear", 3: "trilinear"}


class UNet(nn.Module):
    """(B, channels, *S) -> logits (B, outputs, *S); every side of S divisible by 2 ** (len(widths) - 1).

    A level is two 3-wide convolutions with instance normalisation, which looks at one item alone, and LeakyReLU 0.01;
    sides are halved by max-pooling and doubled by linear interpolation, encoder features concatenated. `joint`
    normalises all channels of a level together, which keeps what they are relative to one another, such as a colour
    cast. Source: after arXiv 1505.04597; widths and normalisation inferred.
    """

    def __init__(
        self, channels: int, outputs: int, widths: Sequence[int] = (8, 16, 32), dims: int = 2, joint: bool = False
    ) -> None:
        super().__init__()
        self.dims = dims
        self.down = nn.ModuleList(level(dims, i, o, joint) for i, o in zip((channels, *widths), widths))
        self.up = nn.ModuleList(level(dims, i + o, o, joint) for i, o in zip(widths[:0:-1], widths[-2::-1]))
        self.head = CONV[dims](widths[0], outputs, 1)

    def forward(self, image: Tensor) -> Tensor:
        features, skips = image, []
        for number, block in enumerate(self.down):
            features = block(POOL[self.dims](features, 2) if number else features)
            skips.append(features)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            grown = F.interpolate(features, skip.shape[2:], mode=LINEAR[self.dims], align_corners=False)
            features = block(torch.cat([grown, skip], 1))
        return self.head(features)


def level(dims: int, inputs: int, outputs: int, joint: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        norm = nn.GroupNorm(1, outputs) if joint else NORM[dims](outputs, affine=True)
        layers += [CONV[dims](width, outputs, 3, padding=1, bias=False), norm]
        layers += [nn.LeakyReLU(0.01, inplace=True)]
    return nn.Sequential(*layers)
