"""Multi-atlas vote: several labelled subjects are registered to the scan, and their labels vote.

A reference point and no rival of equal standing: it needs the labels of the training subjects. The atlas and the
training subjects that look most like the scan are warped onto it by one network, which was trained on pairs of training
images without labels; at each voxel the structure with most of the linearly warped labels wins.

Source: inferred. LT-Net compares with MABMIS, which registers its atlases in groups; this is the simplest vote that
shares VoxelMorph's network and loss (arXiv 1809.05231), with the same number of updates.
Known faults: likeness is the mean squared difference of grey values; subjects beyond the first `bank` of the first
epoch never vote; of several processes each keeps a bank of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from workbench import method, metrics
from workbench.config import Count, Natural, Positive, Weight
from workbench.losses.registration import Window, label_map, local_ncc, one_hot, require_labels, smoothness
from workbench.method import Batch, Update
from workbench.models.registration import Finish, FlowNet, Half, scores
from workbench.models.warp import warp


@dataclass(frozen=True)
class Config(method.Config):
    dims: Literal[2, 3] = 2  # of the images, from the data
    classes: str = "structure"  # names of the label values 1, 2, ..., from the data
    base: Count = 8  # channels of the encoder's first level, as VoxelMorph's
    depth: Count = 3  # halvings of the image, as VoxelMorph's
    finish: Finish = 2  # convolutions before the field, as VoxelMorph's
    half: Half = "volumes"  # whose fields have half the size, enlarged linearly; paper scale never (calibrated)
    int_steps: Natural = 0  # squarings if the network gives a velocity, as VoxelMorph's
    window: Window = 9  # side of the correlation's windows, voxels (VoxelMorph)
    smooth_weight: Weight = 0.3  # lambda, as VoxelMorph's
    bank: Count = 20  # labelled training subjects that are kept (inferred)
    voters: Count = 5  # subjects that vote on a scan, the atlas among them (inferred)
    lr: Positive = 3e-3  # Adam's rate, as VoxelMorph's


PAPER = {
    "dims": 3, "base": 16, "depth": 4, "finish": 3, "half": "never", "smooth_weight": 1.0, "bank": 82,
    "lr": 1e-4, "train": 82, "test": 20, "batch": 1, "epochs": 500,
}  # fmt: skip


class MultiAtlas(method.Method):
    """predict: `mask` (B, 1, *S) of 0 to K. Before training, the atlas alone votes."""

    Config = Config
    data = "anatomy3d"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c, self.labels = config, metrics.classes(config.classes)
        net = {"base": c.base, "depth": c.depth, "finish": c.finish, "half": c.half, "int_steps": c.int_steps}
        self.forth = FlowNet(c.dims, **net)
        empty = (0, 1, *[1] * c.dims)
        self.register_buffer("images", torch.zeros(empty))
        self.register_buffer("maps", torch.zeros(empty, dtype=torch.int16))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"generator": torch.optim.Adam(self.forth.parameters(), self.config.lr)}

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in ("images", "maps"):  # they grow while the method trains
            setattr(self, name, torch.empty_like(state[prefix + name], device=self.device))
        super()._load_from_state_dict(state, prefix, *rest)

    def keep(self, batch: Batch) -> None:
        """Put labelled subjects into the bank; in the first epoch every subject comes once."""
        room = self.config.bank - len(self.images)
        for name, new in (("images", batch["image"]), ("maps", batch["label"])):
            old = getattr(self, name)
            setattr(self, name, torch.cat([old.view(-1, *new.shape[1:]) if len(old) else new[:0], new[:room]]))

    def updates(self, batch: Batch) -> Iterator[Update]:
        """Register a subject of the bank, or the atlas, to each scan; no label is used, only kept."""
        c, image = self.config, batch["image"]
        require_labels("multiatlas", batch["label"])
        moving = self.drawn(batch["atlas"])
        if self.epoch == 1:
            self.keep(batch)
        flow = self.forth(moving, image)
        terms = {"sim": local_ncc(warp(moving, flow), image, c.window)}
        terms["smooth"] = c.smooth_weight * smoothness(flow)
        yield "generator", sum(terms.values()), {name: term.detach() for name, term in terms.items()}

    def drawn(self, atlas: Tensor) -> Tensor:
        """For each item the atlas or one of the bank, all as likely."""
        number = (self.rand(len(atlas)) * (len(self.images) + 1)).long()
        return torch.stack([self.images[n - 1] if n else atlas[i] for i, n in enumerate(number.tolist())])

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        image = batch["image"]
        votes = self.vote(batch["atlas"], batch["atlas_label"], image)
        others = min(self.config.voters - 1, len(self.images))
        if others:
            apart = (image - self.images[None, :, 0]).square().flatten(2).mean(2)  # (B, bank)
            for chosen in apart.topk(others, largest=False).indices.unbind(1):
                votes = votes + self.vote(self.images[chosen], self.maps[chosen], image)
        return {"mask": label_map(votes / (others + 1))}

    def vote(self, moving: Tensor, label: Tensor, image: Tensor) -> Tensor:
        """The labels of one subject an item on the scan, (B, K, *S) in [0, 1]."""
        return warp(one_hot(label, len(self.labels)), self.forth(moving, image))

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return scores(batch, prediction, self.labels)
