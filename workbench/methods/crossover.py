"""Crossover-Net: classify a pixel from a vertical and a horizontal patch that cross in it.

A square patch spends its area on the nearest surroundings; two long narrow ones reach further along both axes for the
same area. Both go through the same convolutions, and a loss asks that their features agree where the patches overlap
and differ where they do not. Every pixel is classified by its own patches.

Source: Yu, Shi, Zheng, Gao, Zhu, Dai: Crossover-Net, arXiv 2004.01397, with the official code; sampling and
post-processing from the code of its predecessor Crossbar-Net (arXiv 1804.10484), whose use here is inferred. A
re-implementation from facts. Inferred: the shortened net for 40 x 8, which rows of 340 x 68 are compared, points from
anywhere and background points with the object's grey (near the edge alone no distractor is met), and `loss=cosine`.
Known faults of the released code, repaired here: the features are reshaped so that samples mix and the "overlap" holds
every row; squares are summed over the batch and not over the features; the square root has an infinite gradient at 0
and equal distances give 0/0; the lowered rates never reach the optimizer (`drops` applies them). Min-max normalisation
is kept in `loss=paper`: one outlier lowers that term as agreement does. It is the default nevertheless, being the
published one; on validation phantoms `loss=cosine` at equal weights was less stable and drew the overlap together less.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench import method, metrics
from workbench.compare import Claim
from workbench.config import Count, Fraction, Natural, Positive, Weight
from workbench.errors import InvalidParameter
from workbench.method import Batch, Update
from workbench.models.patches import (
    BARS,
    POOL,
    PatchClassifier,
    Plan,
    Sampling,
    cleaned,
)


@dataclass(frozen=True)
class Config(method.Config):
    patch: Literal[40, 100, 340] = 40  # longer side of a patch, pixels: 40x8 (inferred), 100x20, 340x68 (code)
    crop: Literal["cross", "vertical", "horizontal", "square"] = "cross"  # patches of a pixel (card: ablations)
    loss: Literal["paper", "cosine"] = "paper"  # how features are compared (paper: official code; cosine: inferred)
    consistency_weight: Weight = 1.0  # of the distance on the overlap (code)
    diversity_weight: Weight = 1.0  # of the distance at the ends (code)
    patches: Count = 25  # points an image and step, half of them in the object (card: 100 with 4 images)
    alike: Fraction = 0.5  # share of the background points that have the object's grey levels (inferred)
    anywhere: Fraction = 0.25  # share of all points from anywhere, the rest about the edge as in the code (inferred)
    lr: Positive = 4e-3  # Adam's rate; paper scale 1e-4 (code); tuned on validation images as its rivals'
    drops: bool = False  # apply the rates that the code intends: half after epoch 5, a tenth from epoch 20 (code)
    tile: Count = 128  # side of the blocks that are classified at once, pixels: bounds memory
    closing: Natural = 3  # radius of the disk that closes the mask, pixels; 0 is none (Crossbar-Net's demo)
    fill: bool = True  # fill the mask's holes (Crossbar-Net's demo)
    largest: bool = True  # keep the mask's largest part alone (Crossbar-Net's demo)
    channels: Count = 1  # of the image
    classes: str = "organ"  # name of the object in the scores

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop != "cross" and self.consistency_weight + self.diversity_weight > 0:
            remedy = "set consistency_weight=0 and diversity_weight=0"
            raise InvalidParameter("crop", "cross, where two patches are compared", self.crop, remedy)
        Sampling(self.alike, self.anywhere)


TINY = {"epochs": 48, "batch": 4, "train": 24, "valid_every": 16}
DEMO = TINY
PAPER = {"patch": 100, "patches": 50, "alike": 0.0, "anywhere": 0.0, "lr": 1e-4, "epochs": 16, "batch": 4, "size": 256}
CE = {"consistency_weight": 0.0, "diversity_weight": 0.0}
ABLATIONS = {
    "ce_only": CE,
    "consistency_only": {"diversity_weight": 0.0},
    "diversity_only": {"consistency_weight": 0.0},
    "cosine_loss": {"loss": "cosine"},
    "vertical": CE | {"crop": "vertical"},
    "horizontal": CE | {"crop": "horizontal"},
    "square": CE | {"crop": "square"},
}
RIVALS = ("crossbar", "unet")
FLOORS = ()
TABLE = tuple(("average", name) for name in ("dice", "tpf", "centroid", "hd95", "hausdorff", "overlap_distance"))
CLAIMS = (
    Claim("the cross beats the vertical patch, both with cross entropy", "dice", "vertical", arm="ce_only"),
    Claim("the cross beats the horizontal patch, both with cross entropy", "dice", "horizontal", arm="ce_only"),
    Claim("the cross is at least as good as the square, both with cross entropy", "dice", "square", arm="ce_only"),
    Claim("the loss draws the overlap together, relative to the ends", "overlap_distance", "ce_only"),
    *(Claim(f"better Dice than {other}", "dice", other, kind="reported") for other in (*ABLATIONS, *RIVALS)),
    *(Claim(f"lower HD95 than {other}", "hd95", other, kind="reported") for other in (*ABLATIONS, *RIVALS)),
)

SQUARES = {
    40: Plan((18, 18), ((3, 3, 8), (3, 3, 16), POOL, (3, 3, 32)), ((3, 3, 32), (3, 3, 48))),
    100: Plan(
        (45, 45),
        ((5, 5, 16), (4, 4, 36), POOL, (4, 4, 64), (3, 3, 64), POOL, (3, 3, 64)),
        ((3, 3, 64), (3, 3, 358)),
    ),
    340: Plan(
        (152, 152),
        ((5, 5, 16), (5, 5, 36), POOL, (5, 5, 64), (5, 5, 64), POOL, *[(3, 3, 64)] * 3, POOL, (3, 3, 64)),
        (*[(3, 3, 64)] * 4, (3, 3, 405)),
    ),
}  # of a bar's area and the parameters of the whole network (card; layers inferred)
TURNED = {"cross": (False, True), "vertical": (False,), "horizontal": (True,), "square": (False,)}


def rows_of(features: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
    """C (N, F, c), the rows about the crossing, and S (N, 2 F, s), those of both ends, of features (N, F, rows, 1).

    Rows are rows of one sample: the released code mixed samples here.
    """
    rows, (first, end), ends = features.squeeze(-1).float(), plan.overlap, plan.ends
    return rows[..., first:end], torch.cat([rows[..., :ends], rows[..., -ends:]], 1)


def distance(v: Tensor, h: Tensor) -> Tensor:
    """d = sqrt(sum over features of (V - H)^2 + 1e-8), (N, rows), of (N, F, rows)."""
    return ((v - h).square().sum(1) + 1e-8).sqrt()


def normalized(d: Tensor) -> Tensor:
    """n(d) = (d - min d) / (max d - min d), over all samples and rows; 0 where all are equal."""
    return (d - d.min()) / (d.max() - d.min() + 1e-8)


def consistency(v: Tensor, h: Tensor, kind: str) -> Tensor:
    """How far V and H (N, F, rows) of the overlap are apart, a scalar in [0, 1], cosine [0, 2]; to be small."""
    return normalized(distance(v, h)).mean() if kind == "paper" else (1 - F.cosine_similarity(v, h, dim=1)).mean()


def diversity(v: Tensor, h: Tensor, kind: str) -> Tensor:
    """How alike V and H (N, F, rows) of the ends are, a scalar in [-1, 0], cosine [0, 1]; to be small."""
    return -normalized(distance(v, h)).mean() if kind == "paper" else F.cosine_similarity(v, h, dim=1).relu().mean()


class Crossover(method.Method):
    """predict: `mask` (B, 1, H, W), 0 or 1, after closing and filling, and `score` (B, 1, H, W), the probability."""

    Config = Config
    data = "organs"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.plan = (SQUARES if config.crop == "square" else BARS)[config.patch]
        self.sampling = Sampling(config.alike, config.anywhere)
        self.net = PatchClassifier(config.channels, self.plan, TURNED[config.crop])

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        optimizer = torch.optim.Adam(self.parameters(), self.config.lr)
        if self.config.drops:
            optimizer.register_step_pre_hook(self.lower)  # the loop sets the rate before every step
        return {"net": optimizer}

    def lower(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        factor = 1.0 if self.epoch <= 5 else 0.5 if self.epoch < 20 else 0.1
        for group in optimizer.param_groups:
            group["lr"] *= factor

    def updates(self, batch: Batch) -> Iterator[Update]:
        c, image = self.config, batch["image"]
        points, target = self.sampling.points(image, batch["label"], self.rand(len(image), c.patches))
        logits, features = self.net(self.net.patches(image, points))
        terms = {"ce": F.cross_entropy(logits.float(), target)}
        if c.crop == "cross":
            (v_over, v_ends), (h_over, h_ends) = (rows_of(one, self.plan) for one in features)
            terms["consistency"] = c.consistency_weight * consistency(v_over, h_over, c.loss)
            terms["diversity"] = c.diversity_weight * diversity(v_ends, h_ends, c.loss)
        yield "net", sum(terms.values()), {name: term.detach() for name, term in terms.items()}

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        c, image = self.config, batch["image"]
        score = self.net.every_pixel(image, c.tile).float().softmax(1)[:, 1:]
        return {"mask": cleaned(score > 0.5, c.closing, c.fill, c.largest), "score": score}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        scores = metrics.segmentation(batch, prediction, metrics.classes(self.config.classes))
        scores["hausdorff"] = metrics.hd95(prediction["mask"], batch["label"], batch["spacing"], None)
        return scores | ({"overlap_distance": self.overlap_distance(batch)} if self.config.crop == "cross" else {})

    def overlap_distance(self, batch: Batch) -> Tensor:
        """d_C / d_S, (B,): mean distance of V and H on the overlap over that at the ends, at 100 points an item.

        The points are those of training, placed by evenly spaced numbers in place of random ones. Lower is better.
        """
        image, count = batch["image"], 50
        even = (torch.arange(count, device=image.device) + 0.5) / count
        points, _ = self.sampling.points(image, batch["label"], even.repeat(len(image), 2))
        _, features = self.net(self.net.patches(image, points))
        pairs = zip(*(rows_of(one, self.plan) for one in features), strict=True)
        over, ends = (distance(v, h).unflatten(0, (len(image), -1)).mean((1, 2)) for v, h in pairs)
        return over / ends
