"""LT-Net: segment a scan with one labelled atlas, by learning a correspondence that can be reversed.

A network that warps an atlas onto a scan warps its labels with it, but only the likeness of two images tells it how.
LT-Net lets a second network warp the warped atlas back. Because the original atlas and its labels are known, the way
there and back can be judged on the image, on the fields and on the anatomy, and all of it flows into the first network.

Source: Wang et al., LT-Net: Label Transfer by Learning Reversible Voxel-wise Correspondence for One-shot Medical Image
Segmentation, CVPR 2020, arXiv 2003.07072. No official code is known. This is a reconstruction from the abstract and
the caption of figure 1: one-shot, two correspondences and the cycle from the *warped* atlas are stated; networks,
smoothness and window are VoxelMorph's (arXiv 1809.05231), rho is UnFlow's (arXiv 1711.07837); all weights are inferred.
With `base` alone the backward network has no term but its smoothness and stays at rest, so that the forward network is
VoxelMorph. Of L_diff only the name, anatomy difference, is known; here it is the mean absolute difference of the
atlas's one-hot labels and those that came back, which is 0 by default. Known faults: two fields of zeros make a perfect
cycle, and reading an image twice between its voxels blurs it, so L_cyc and L_anat favour rest. With the card's weights
(`heavy`) they outweigh L_sim and nothing ever moves in a short run; the defaults were chosen on validation subjects.
That the spread over subjects shrinks is not a value of a case: the tables of scores show it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import method, metrics
from workbench.compare import Claim
from workbench.config import Count, Natural, Positive, Weight
from workbench.losses.adversarial import critic_loss, generator_loss
from workbench.losses.registration import Window, dice_loss, label_map, local_ncc, one_hot, rho, smoothness
from workbench.method import Batch, Update
from workbench.models.registration import CONV, Finish, FlowNet, Half, scores
from workbench.models.warp import compose, warp


@dataclass(frozen=True)
class Config(method.Config):
    dims: Literal[2, 3] = 2  # of the images, from the data
    classes: str = "structure"  # names of the label values 1, 2, ..., from the data
    base: Count = 8  # channels of the encoder's first level, the others have twice as many; paper scale 16 (VoxelMorph)
    depth: Count = 3  # halvings of the image, sides are divisible by 2 ** depth; paper scale 4 (VoxelMorph)
    finish: Finish = 2  # convolutions before the field; paper scale 3 (VoxelMorph)
    half: Half = "volumes"  # whose fields have half the size, enlarged linearly; paper scale never (calibrated)
    int_steps: Natural = 0  # squarings if the networks give a velocity; 0 where they give the field (CVPR 2018 form)
    shared: bool = False  # one encoder for both networks (unconfirmed: Siamese)
    window: Window = 9  # side of the windows of L_sim, voxels (VoxelMorph)
    sim_weight: Weight = 1.0  # of L_sim, local correlation of warped atlas and scan (inferred)
    smooth_weight: Weight = 0.3  # of L_smooth, both fields in voxels; paper scale 1 (VoxelMorph; calibrated as its)
    gan_weight: Weight = 0.0  # of L_GAN; 0.1 where it is on (inferred)
    cyc_weight: Weight = 0.3  # of L_cyc, L1 of the atlas and what came back; paper scale 10 (inferred; calibrated)
    trans_weight: Weight = 3.0  # of L_trans, rho of the closed way in sides; paper scale 1 (inferred; calibrated)
    anat_weight: Weight = 0.03  # of L_anat, 1 - Dice of the labels that came back; paper scale 3 (inferred; calibrated)
    diff_weight: Weight = 0.0  # of L_diff, known by name only: mean absolute difference of those labels (inferred)
    symmetric: bool = False  # L_trans along the other closed way too (UnFlow)
    critic_base: Count = 8  # channels of the critic's first layer (inferred)
    lr: Positive = 3e-3  # Adam's rate; paper scale 1e-4 (VoxelMorph)


TINY = {"train": 20, "valid": 4, "test": 8, "epochs": 120, "batch": 4}
DEMO = {"dims": 3, "epochs": 60, "batch": 2}
PAPER = {
    "dims": 3, "base": 16, "depth": 4, "finish": 3, "half": "never", "smooth_weight": 1.0, "cyc_weight": 10.0,
    "trans_weight": 1.0, "anat_weight": 3.0, "lr": 1e-4, "train": 82, "test": 20, "batch": 1, "epochs": 500,
}  # fmt: skip
ABLATIONS = {
    "base": {"cyc_weight": 0.0, "trans_weight": 0.0, "anat_weight": 0.0},
    "cyc": {"trans_weight": 0.0, "anat_weight": 0.0},
    "trans": {"anat_weight": 0.0},
    "gan": {"gan_weight": 0.1},
    "heavy": {"cyc_weight": 10.0, "trans_weight": 1.0, "anat_weight": 3.0},  # the card's weights: both fields stay 0
    "smooth0.1": {"smooth_weight": 0.1},
    "smooth0.01": {"smooth_weight": 0.01},
}
RIVALS = ("voxelmorph", "dataaug", "multiatlas", "supervised")
FLOORS = ("identity", "affine")
TABLE = tuple(("average", name) for name in ("dice", "hd95", "centroid", "cycle", "folds", "epe"))
CLAIMS = (
    Claim("cycle error below an independent pair's", "cycle", "voxelmorph-pair"),
    Claim("Dice above the atlas laid over, by 0.05", "dice", "identity", margin=0.05),
    *(
        Claim(f"higher Dice than {name}", "dice", name, kind="reported")
        for name in ("voxelmorph", "voxelmorph-repeats", "dataaug", "affine", "multiatlas")
    ),
    Claim("Dice within 0.1 of a supervised U-Net", "dice", "supervised", margin=-0.1, kind="reported"),
    Claim("folds no more than VoxelMorph, within 0.1 %", "folds", "voxelmorph", margin=-0.001, kind="reported"),
    Claim("Dice spreads less over subjects than VoxelMorph's", "dice", "voxelmorph", kind="reported", spread=True),
    Claim("cyc gains on base", "dice", "base", arm="cyc", kind="reported"),
    Claim("trans gains on cyc", "dice", "cyc", arm="trans", kind="reported"),
    Claim("anat gains on trans", "dice", "trans", kind="reported"),
    Claim("gan gains on the whole", "dice", "ltnet", arm="gan", kind="reported"),
    *(
        Claim(f"higher Dice than VoxelMorph at {name}", "dice", f"voxelmorph-{name}", arm=name, kind="reported")
        for name in ("smooth0.1", "smooth0.01")
    ),
)


class Critic(nn.Sequential):
    """(B, 1, *S) in [0, 1] -> (B, 1, *s), one score a patch: three strided convolutions and a last one (inferred)."""

    def __init__(self, dims: int, base: int) -> None:
        layers: list[nn.Module] = []
        for wide, out in ((1, base), (base, 2 * base), (2 * base, 4 * base)):
            layers += [CONV[dims](wide, out, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        super().__init__(*layers, CONV[dims](4 * base, 1, 3, 1, 1))


def closed_way(forth: Tensor, back: Tensor) -> Tensor:
    """Mean rho of back + forth o (id + back) in parts of each side, a scalar; least where back undoes forth.

    Of fields (B, D, *S) in voxels. The forward field is read where the backward one leads: without that warping the
    sum would be of displacements of different points.
    """
    sides = torch.tensor(forth.shape[2:], device=forth.device).view(1, -1, *[1] * (forth.ndim - 2))
    return rho(compose(forth, back) / sides).mean()


class LTNet(method.Method):
    """predict: `mask` (B, 1, *S) of 0 to K, the atlas's labels warped linearly, and `flow` (B, D, *S) in voxels."""

    Config = Config
    data = "anatomy3d"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c, self.labels = config, metrics.classes(config.classes)
        net = {"base": c.base, "depth": c.depth, "finish": c.finish, "half": c.half, "int_steps": c.int_steps}
        self.forth, self.back = FlowNet(c.dims, **net), FlowNet(c.dims, **net)
        if c.shared:
            del self.back.encoder
        if c.gan_weight > 0:
            self.critic = Critic(c.dims, c.critic_base)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        sides = {"generator": [*self.forth.parameters(), *self.back.parameters()]}
        if self.config.gan_weight > 0:
            sides["critic"] = self.critic.parameters()
        return {name: torch.optim.Adam(weights, self.config.lr) for name, weights in sides.items()}

    def backward_field(self, warped: Tensor, atlas: Tensor) -> Tensor:
        """DpB = G_B(u-, l), the field that leads the warped atlas back."""
        return self.back(warped, atlas, self.forth.encoder if self.config.shared else None)

    def updates(self, batch: Batch) -> Iterator[Update]:
        """One joint step of both networks; only the atlas's labels are read."""
        c, atlas, image = self.config, batch["atlas"], batch["image"]
        given = torch.cat([atlas, one_hot(batch["atlas_label"], len(self.labels))], 1)
        forth = self.forth(atlas, image)
        warped = warp(given, forth)
        if c.gan_weight > 0:
            yield "critic", critic_loss(self.critic(image), self.critic(warped[:, :1].detach()), "lsgan"), {}
        back = self.backward_field(warped[:, :1], atlas)  # not detached: this is the extra supervision
        terms = self.terms(image, given, warped, forth, back)
        yield "generator", sum(terms.values()), {name: term.detach() for name, term in terms.items()}

    def terms(self, image: Tensor, given: Tensor, warped: Tensor, forth: Tensor, back: Tensor) -> dict[str, Tensor]:
        """The weighted loss terms by name, scalars; those of weight 0 are left out, but for L_sim and L_smooth.

        `given` is the atlas (B, 1 + K, *S), image and one-hot labels; `warped` what the forward field makes of it.
        """
        c = self.config
        terms = {"sim": c.sim_weight * local_ncc(warped[:, :1], image, c.window)}
        terms["smooth"] = c.smooth_weight * (smoothness(forth) + smoothness(back))
        if c.gan_weight > 0:
            terms["gan"] = c.gan_weight * generator_loss(self.critic(warped[:, :1]), "lsgan")
        if c.trans_weight > 0:
            ways = closed_way(forth, back) + (closed_way(back, forth) if c.symmetric else 0)
            terms["trans"] = c.trans_weight * ways
        if c.cyc_weight + c.anat_weight + c.diff_weight == 0:
            return terms
        again = warp(warped, back)
        found = {
            "cyc": lambda: F.l1_loss(again[:, :1], given[:, :1]),
            "anat": lambda: dice_loss(again[:, 1:], given[:, 1:]),
            "diff": lambda: F.l1_loss(again[:, 1:], given[:, 1:]),
        }
        weights = {name: getattr(c, f"{name}_weight") for name in found}
        return terms | {name: weights[name] * term() for name, term in found.items() if weights[name] > 0}

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        flow = self.forth(batch["atlas"], batch["image"])
        labels = warp(one_hot(batch["atlas_label"], len(self.labels)), flow)
        return {"mask": label_map(labels), "flow": flow}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        back = self.backward_field(warp(batch["atlas"], prediction["flow"]), batch["atlas"])
        return scores(batch, prediction, self.labels, back)
