"""DataAug: learn how subjects differ from the atlas in shape and in grey, and train a segmenter on atlases so changed.

A spatial network warps the atlas onto scans, a second one warps scans onto the atlas, and an appearance network learns
what grey values must be added to the atlas to look like a scan that was brought to it. The shape of one scan and the
appearance of another make an image whose label map is known, and a U-Net learns from such pairs.

Source: Zhao et al., Data Augmentation Using Learned Transformations for One-Shot Medical Image Segmentation, CVPR 2019,
arXiv 1902.09383, and its released code (brainstorm): separate forward and backward fields, local correlation with
window 9, lambda 1, reconstruction weight 50, smooth appearance but for the atlas's contours. There the three parts are
trained one after the other. Here all learn in every step, so that each has the whole budget; with `spatial_epochs`
and `appearance_epochs` they learn in turn. Network sizes are VoxelMorph's and the supervised U-Net's (inferred).
Known faults: shape and appearance are paired within a batch, so a batch of one pairs each subject with itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench import method, metrics
from workbench.config import Count, Natural, Positive, Weight
from workbench.losses.registration import Window, label_map, local_ncc, one_hot, segmentation_loss, smoothness
from workbench.method import Batch, Update
from workbench.models.registration import Finish, FlowNet, Half, scores
from workbench.models.unet import UNet
from workbench.models.warp import warp


@dataclass(frozen=True)
class Config(method.Config):
    dims: Literal[2, 3] = 2  # of the images, from the data
    classes: str = "structure"  # names of the label values 1, 2, ..., from the data
    base: Count = 8  # channels of the first level of the spatial networks and the segmenter (inferred)
    appearance_base: Count = 4  # channels of the appearance network's first level; paper scale 16 (inferred)
    depth: Count = 3  # halvings of the image in the spatial networks, as VoxelMorph's
    finish: Finish = 2  # convolutions before the field, as VoxelMorph's
    half: Half = "volumes"  # whose fields have half the size, enlarged linearly; paper scale never (calibrated)
    levels: Count = 3  # sizes of both U-Nets, as the supervised one's (inferred)
    window: Window = 9  # side of the correlation's windows, voxels (code)
    smooth_weight: Weight = 0.3  # lambda, of both fields in voxels; paper scale 1 (code; calibrated as VoxelMorph's)
    recon_weight: Weight = 50.0  # of the squared error of the changed and warped atlas (code)
    change_weight: Weight = 1.0  # of the smoothness of the added grey values (paper: 0.02 beside 1)
    spatial_epochs: Natural = 0  # epochs that belong to the spatial networks alone; 0 where all learn at once
    appearance_epochs: Natural = 0  # epochs after these that belong to the appearance network alone
    lr: Positive = 3e-3  # Adam's rate, as the rivals'


PAPER = {
    "dims": 3, "base": 16, "appearance_base": 16, "depth": 4, "finish": 3, "half": "never", "levels": 4,
    "smooth_weight": 1.0, "lr": 1e-4, "train": 82, "test": 20, "batch": 1, "epochs": 530, "spatial_epochs": 500,
    "appearance_epochs": 20,
}  # fmt: skip


def contours(label: Tensor) -> Tensor:
    """1 where a neighbour along an axis has another structure, else 0, (B, 1, *S) from a label map of that shape."""
    edges = torch.zeros(label.shape, device=label.device)
    for axis in range(2, label.ndim):
        differ = (label.diff(dim=axis) != 0).float()
        size = differ.shape[axis]
        edges.narrow(axis, 0, size).add_(differ)
        edges.narrow(axis, 1, size).add_(differ)
    return edges.clamp_max(1)


def change_smoothness(change: Tensor, edges: Tensor) -> Tensor:
    """Mean squared difference of neighbours where neither lies on a contour, a scalar; both (B, 1, *S)."""
    inside, total = 1 - edges, change.new_zeros((), dtype=torch.float32)
    for axis in range(2, change.ndim):
        size = change.shape[axis] - 1
        both = inside.narrow(axis, 0, size) * inside.narrow(axis, 1, size)
        total = total + (both * change.float().diff(dim=axis).square()).mean()
    return total / (change.ndim - 2)


class DataAug(method.Method):
    """predict: `mask` (B, 1, *S) of 0 to K, by the segmenter."""

    Config = Config
    data = "anatomy3d"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c, self.labels = config, metrics.classes(config.classes)
        net = {"base": c.base, "depth": c.depth, "finish": c.finish, "half": c.half}
        self.forth, self.back = FlowNet(c.dims, **net), FlowNet(c.dims, **net)
        widths = [c.base * 2**level for level in range(c.levels)]
        self.appearance = UNet(2, 1, [c.appearance_base * 2**level for level in range(c.levels)], c.dims)
        self.segmenter = UNet(1, 1 + len(self.labels), widths, c.dims)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        spatial = [*self.forth.parameters(), *self.back.parameters()]
        parts = {"spatial": spatial, "appearance": self.appearance.parameters()}
        parts["segmenter"] = self.segmenter.parameters()
        return {name: torch.optim.Adam(weights, self.config.lr) for name, weights in parts.items()}

    @property
    def stages(self) -> tuple[str, ...]:
        """The parts that learn in this epoch."""
        c = self.config
        if c.spatial_epochs + c.appearance_epochs == 0:
            return ("spatial", "appearance", "segmenter")
        if self.epoch <= c.spatial_epochs:
            return ("spatial",)
        return ("appearance",) if self.epoch <= c.spatial_epochs + c.appearance_epochs else ("segmenter",)

    def updates(self, batch: Batch) -> Iterator[Update]:
        """Up to three steps; the fields that the last two need are those after the first."""
        if "spatial" in self.stages:
            yield "spatial", self.spatial_loss(batch), {}
        if self.stages == ("spatial",):
            return
        forth, change = self.changed(batch)
        if "appearance" in self.stages:
            yield "appearance", self.appearance_loss(batch, forth, change), {}
        if "segmenter" in self.stages:
            image, label = self.synthesised(batch, forth, change.detach())
            yield "segmenter", segmentation_loss(self.segmenter(image), label), {}

    def spatial_loss(self, batch: Batch) -> Tensor:
        """Likeness and smoothness of the fields atlas -> scan and scan -> atlas, each of its own network."""
        c, loss = self.config, 0
        pairs = [(self.forth, "atlas", "image"), (self.back, "image", "atlas")]
        for net, moving, fixed in pairs:
            flow = net(batch[moving], batch[fixed])
            loss = loss + local_ncc(warp(batch[moving], flow), batch[fixed], c.window)
            loss = loss + c.smooth_weight * smoothness(flow)
        return loss

    def changed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Fields atlas -> scan (B, D, *S), and the grey values (B, 1, *S) to add to the atlas to look like the scan."""
        atlas, image = batch["atlas"], batch["image"]
        with torch.no_grad():
            forth, brought = self.forth(atlas, image), warp(image, self.back(image, atlas))
        return forth, self.appearance(torch.cat([atlas, brought], 1)).float()

    def appearance_loss(self, batch: Batch, forth: Tensor, change: Tensor) -> Tensor:
        recon = F.mse_loss(warp(batch["atlas"] + change, forth), batch["image"])
        smooth = change_smoothness(change, contours(batch["atlas_label"]))
        return self.config.recon_weight * recon + self.config.change_weight * smooth

    def synthesised(self, batch: Batch, forth: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 1, *S) in [0, 1] with the shape of one scan and the appearance of another, and label maps."""
        image = warp((batch["atlas"] + change.roll(1, 0)).clamp(0, 1), forth)
        return image, label_map(warp(one_hot(batch["atlas_label"], len(self.labels)), forth))

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        return {"mask": self.segmenter(batch["image"]).argmax(1, keepdim=True).to(torch.int16)}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return scores(batch, prediction, self.labels)
