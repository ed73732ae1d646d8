"""The registration U-Net that VoxelMorph, LT-Net and DataAug share, and the scores that their fields get."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import metrics
from workbench.config import Bound
from workbench.models.warp import cycle_error, endpoint_error, folds, integrate

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
Finish = Annotated[int, Bound(1, 3)]
Half = Literal["volumes", "always", "never"]
POOL = {2: F.max_pool2d, 3: F.max_pool3d}
LINEAR = {2: "bilinear", 3: "trilinear"}


def block(dims: int, inputs: int, outputs: int) -> nn.Sequential:
    """3-wide convolution and LeakyReLU 0.2."""
    return nn.Sequential(CONV[dims](inputs, outputs, 3, padding=1), nn.LeakyReLU(0.2, inplace=True))


class FlowEncoder(nn.Module):
    """(B, 2, *S) -> features at S, S/2, ... of base, 2 base, 2 base, ... channels, and the last halved again."""

    def __init__(self, dims: int, base: int, depth: int) -> None:
        super().__init__()
        widths = [2, base] + [2 * base] * (depth - 1)
        self.blocks = nn.ModuleList(block(dims, i, o) for i, o in pairwise(widths))
        self.dims = dims

    def forward(self, images: Tensor) -> list[Tensor]:
        features = [images]
        for one in self.blocks:
            features[-1] = one(features[-1])
            features.append(POOL[self.dims](features[-1], 2))
        return features


class FlowDecoder(nn.Module):
    """The encoder's features -> field (B, D, *S) in voxels, zero but for 1e-5 before training.

    One convolution of 2 base channels a level, then the last `finish` of (2 base, base, base) at the last level, which
    is full size or, with `half`, half of it: that field is enlarged linearly. The head and what follows run in float32:
    a field in bf16 is off by 0.03 voxels at 6.
    """

    def __init__(self, dims: int, base: int, depth: int, finish: int, half: bool) -> None:
        super().__init__()
        self.half, self.mode = half, LINEAR[dims]
        skips = [2 * base] * (depth - 1) + ([] if half else [base])
        inputs = [2 * base] + [2 * base + skip for skip in skips]
        widths = [inputs[-1], *(2 * base, base, base)[3 - finish :]]
        self.blocks = nn.ModuleList(block(dims, wide, 2 * base) for wide in inputs[:-1])
        self.last = nn.Sequential(*(block(dims, i, o) for i, o in pairwise(widths)))
        self.head = CONV[dims](base, dims, 3, padding=1)
        nn.init.normal_(self.head.weight, std=1e-5)
        nn.init.zeros_(self.head.bias)

    def forward(self, features: list[Tensor]) -> Tensor:
        x, *skips = features[:0:-1] if self.half else features[::-1]
        for one, skip in zip(self.blocks, skips, strict=True):
            x = torch.cat([F.interpolate(one(x), scale_factor=2), skip], 1)
        x = self.last(x)
        with torch.autocast(x.device.type, enabled=False):
            flow = self.head(x.float())
            return F.interpolate(flow, scale_factor=2, mode=self.mode) if self.half else flow


class FlowNet(nn.Module):
    """VoxelMorph's U-Net: moving and fixed image (B, 1, *S) -> field (B, D, *S) with moving o field like fixed.

    Encoder of `base`, 2 base, ... channels over `depth` sizes; sides divisible by 2 ** depth. With `int_steps` what the
    network gives is a velocity, integrated by scaling and squaring. Source: arXiv 1809.05231, widths and initial head
    from its released code.
    """

    def __init__(
        self, dims: int, *, base: int = 8, depth: int = 3, finish: int = 2, half: Half = "never", int_steps: int = 0
    ) -> None:
        super().__init__()
        self.encoder = FlowEncoder(dims, base, depth)
        self.decoder = FlowDecoder(dims, base, depth, finish, half == "always" or (half == "volumes" and dims == 3))
        self.int_steps = int_steps

    def forward(self, moving: Tensor, fixed: Tensor, encoder: nn.Module | None = None) -> Tensor:
        images = torch.cat([moving, fixed], 1)
        if images.ndim == 5:  # the CPU's convolutions of volumes are faster so, benchmarks/precision3d.py
            images = images.contiguous(memory_format=torch.channels_last_3d)
        flow = self.decoder((encoder or self.encoder)(images))
        return integrate(flow, self.int_steps) if self.int_steps else flow


def scores(
    batch: Mapping[str, Tensor],
    prediction: Mapping[str, Tensor],
    labels: Mapping[str, tuple[int, ...]],
    back: Tensor | None = None,
) -> dict[str, Tensor]:
    """All metrics of a segmentation by registration, each (B,).

    Those of `metrics.segmentation`; with a field `folds`; with a backward field too `cycle` in voxels; and where the
    data knows the true field `epe`, in voxels, over the labelled anatomy: elsewhere nothing shows how it moved.
    """
    found = metrics.segmentation(batch, prediction, labels)
    if "flow" in prediction:
        found["folds"] = folds(prediction["flow"])
        if "flow" in batch:
            found["epe"] = endpoint_error(prediction["flow"], batch["flow"], batch["label"] > 0)
    if back is not None:
        found["cycle"] = cycle_error(prediction["flow"], back)
    return found
