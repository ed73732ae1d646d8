"""VoxelMorph: one network that warps the atlas onto a scan, trained on the likeness of both and a smooth field.

The atlas's labels are warped with the image. This is LT-Net without the way back, and the rival that it claims to
beat. `pair` trains a second network of its own that warps the scan onto the atlas, for the comparison of cycle errors;
neither knows of the other.

Source: Balakrishnan et al., VoxelMorph, CVPR 2018 and arXiv 1809.05231; U-Net, local correlation with window 9, lambda
1 and the initial head from its released code. Strided or pooled halving differs between its versions; here max-pooling.
Known faults: nothing keeps the field from folding but lambda; `int_steps` integrates a velocity, as later versions do.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from workbench import method, metrics
from workbench.config import Count, Natural, Positive, Weight
from workbench.losses.registration import Window, label_map, local_ncc, one_hot, smoothness
from workbench.method import Batch, Update
from workbench.models.registration import Finish, FlowNet, Half, scores
from workbench.models.warp import warp


@dataclass(frozen=True)
class Config(method.Config):
    dims: Literal[2, 3] = 2  # of the images, from the data
    classes: str = "structure"  # names of the label values 1, 2, ..., from the data
    base: Count = 8  # channels of the encoder's first level, the others have twice as many; paper scale 16 (code)
    depth: Count = 3  # halvings of the image; paper scale 4 (code)
    finish: Finish = 2  # convolutions before the field; paper scale 3 (code)
    half: Half = "volumes"  # whose fields have half the size, enlarged linearly; paper scale never (calibrated)
    int_steps: Natural = 0  # squarings if the network gives a velocity, 7 in later code; 0 is the CVPR 2018 form
    window: Window = 9  # side of the correlation's windows, voxels (code)
    smooth_weight: Weight = 0.3  # lambda, of the field in voxels; paper scale 1 (paper; calibrated)
    pair: bool = False  # train a network for the way back too, on its own (for the cycle error)
    repeats: Count = 1  # updates a batch; 2 gives the steps of LT-Net's two networks
    lr: Positive = 3e-3  # Adam's rate, as LT-Net's; paper scale 1e-4 (code)


PAPER = {
    "dims": 3, "base": 16, "depth": 4, "finish": 3, "half": "never", "smooth_weight": 1.0, "lr": 1e-4,
    "train": 82, "test": 20, "batch": 1, "epochs": 500,
}  # fmt: skip
ABLATIONS = {
    "repeats": {"repeats": 2},
    "pair": {"pair": True},
    "smooth0.1": {"smooth_weight": 0.1},
    "smooth0.01": {"smooth_weight": 0.01},
    "int_steps": {"int_steps": 7},
}


class VoxelMorph(method.Method):
    """predict: `mask` (B, 1, *S) of 0 to K, the atlas's labels warped linearly, and `flow` (B, D, *S) in voxels."""

    Config = Config
    data = "anatomy3d"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c, self.labels = config, metrics.classes(config.classes)
        net = {"base": c.base, "depth": c.depth, "finish": c.finish, "half": c.half, "int_steps": c.int_steps}
        self.forth = FlowNet(c.dims, **net)
        if c.pair:
            self.back = FlowNet(c.dims, **net)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"generator": torch.optim.Adam(self.parameters(), self.config.lr)}

    def updates(self, batch: Batch) -> Iterator[Update]:
        c, atlas, image = self.config, batch["atlas"], batch["image"]
        nets = {"": (self.forth, atlas, image)} | ({"back_": (self.back, image, atlas)} if c.pair else {})
        for _ in range(c.repeats):
            terms = {}
            for name, (net, moving, fixed) in nets.items():
                flow = net(moving, fixed)
                terms[f"{name}sim"] = local_ncc(warp(moving, flow), fixed, c.window)
                terms[f"{name}smooth"] = c.smooth_weight * smoothness(flow)
            yield "generator", sum(terms.values()), {name: term.detach() for name, term in terms.items()}

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        flow = self.forth(batch["atlas"], batch["image"])
        labels = warp(one_hot(batch["atlas_label"], len(self.labels)), flow)
        return {"mask": label_map(labels), "flow": flow}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        back = self.back(batch["image"], batch["atlas"]) if self.config.pair else None
        return scores(batch, prediction, self.labels, back)
