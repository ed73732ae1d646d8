"""Angle closure and scleral spur in AS-OCT: one network classifies half a scan, another finds its spur by a heat map.

Primary angle closure is read from anterior-segment scans: is the angle between iris and cornea shut, and where is the
scleral spur that all measurements start from? The heat map of a point is almost empty, so a mean squared error is
content with nothing. A keypoint registration loss asks for the right height of the response and for its right place.

Source: Yuan et al., Identification of primary angle-closure on AS-OCT images with Convolutional Neural Networks, arXiv
1910.10414 (third place in the AGE challenge, MICCAI 2019). No code is known; this is a reconstruction from the
abstract, which names a revised ResNet152, an EfficientNet encoder with skip connections and pyramid pooling, and a loss
on intensity and location of the response. Everything else is inferred: mirrored halves, the deep stem as the revision,
the formula L_int + lambda L_loc and its weights, focal cross entropy, augmentation, decoding. Decoding looks at 7 x 7
pixels; a response wider than that is read almost at its peak, which costs little where the grid is fine.
At paper scale both networks share the epochs and the batch of one run; `task` trains them in two (classification 50
epochs of batch 16, localization 100 of batch 8, on the card).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from workbench import method
from workbench.compare import Claim
from workbench.config import Count, Fraction, Natural, Positive, Weight
from workbench.errors import InvalidParameter
from workbench.losses.imbalanced import focal, weighted_bce
from workbench.losses.keypoint import (
    decorrelation,
    gaussian,
    intensity,
    known_mean,
    location,
    ramp,
    soft_argmax,
)
from workbench.method import Batch, Update
from workbench.models.angles import (
    AngleNet,
    SpurNet,
    decode,
    framed,
    kept,
    pooled,
    scores,
    settled,
    to_grid,
    turned,
)
from workbench.models.encoders import Encoder, Network, Stem


@dataclass(frozen=True)
class Config(method.Config):
    task: Literal["both", "classification", "localization"] = "both"  # which networks there are
    network: Network = "tiny"  # of the classifier; paper scale resnet152 (paper)
    stem: Stem = "deep"  # of a ResNet: three 3x3 convolutions (inferred: the revision) or one 7x7
    dropout: Fraction = 0.5  # before the classifier's last layer (inferred)
    class_loss: Literal["focal", "pos_weight"] = "focal"  # of the rare closed angles (inferred)
    gamma: Weight = 2.0  # focusing of the focal loss (inferred)
    alpha: Fraction = 0.75  # weight of closed angles in the focal loss, 1 - alpha of open ones (inferred)
    pos_weight: Positive = 4.0  # weight of closed angles with class_loss=pos_weight (inferred)
    shuffled: bool = False  # a control: learn labels that were dealt anew among the training halves
    view: Natural = 0  # side that the classifier's images are scaled to, pixels, 0: none; paper scale 256 (inferred)
    crop: Natural = 0  # side of the square it sees of them, pixels, 0: all; paper scale 224 (inferred)
    encoder: Encoder = "tiny"  # of the localizer; paper scale efficientnet-b3 (paper: EfficientNet)
    ppm: Literal[0, 3, 4] = 3  # grids of the pyramid pooling: 1, 2, 3, with 4 also 6 (inferred); 0 is without
    skips: bool = True  # skip connections of the localizer (paper)
    sigma: Positive = 3.0  # of the target's Gaussian, pixels of the grid; paper scale 20 at 512 (inferred)
    kappa: Weight = 50.0  # weight of the target's place over the background in L_int; 0 is the plain MSE (inferred)
    location_weight: Weight = 1.0  # lambda of L_loc (inferred)
    ramp: Natural = 4  # epochs in which lambda grows from 0: the first fifth (inferred)
    ncc_weight: Weight = 0.0  # of 1 - NCC, the literal registration term; 1 where it is on (inferred)
    beta: Count = 4  # power of the heat map in the soft-argmax (card: tiny preset)
    radius: Natural = 3  # of the window that is decoded, pixels: 3 is 7 x 7 (inferred)
    turn: Weight = 10.0  # largest random turn of training images, degrees (inferred)
    classifier_lr: Positive = 2e-3  # Adam's rate (card: tiny preset); paper scale 1e-4 (inferred)
    localizer_lr: Positive = 5e-3  # Adam's rate (calibrated with all rivals'; card 2e-3); paper scale 1e-3 (inferred)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop and self.view < self.crop:
            raise InvalidParameter("crop", f"at most view={self.view} pixels", str(self.crop), "give a larger view")


TINY = {"train": 96, "valid": 48, "test": 100, "epochs": 20, "batch": 16, "schedule": "cosine"}
DEMO = TINY
PAPER = {
    "network": "resnet152", "view": 256, "crop": 224, "encoder": "efficientnet-b3", "ppm": 4, "sigma": 20.0,
    "ramp": 20, "classifier_lr": 1e-4, "localizer_lr": 1e-3, "size": 512, "train": 2272, "valid": 320, "test": 608,
    "epochs": 100, "batch": 16, "schedule": "cosine",
}  # fmt: skip
LOCAL, CLASS = {"task": "localization"}, {"task": "classification"}  # the other network would be the same again
ABLATIONS = {
    "mse": LOCAL | {"kappa": 0.0, "location_weight": 0.0},
    "no_location": LOCAL | {"location_weight": 0.0},
    "ncc": LOCAL | {"ncc_weight": 1.0},
    "no_ppm": LOCAL | {"ppm": 0},
    "no_skips": LOCAL | {"skips": False},
    "pos_weight": CLASS | {"class_loss": "pos_weight"},
    "shuffled": CLASS | {"shuffled": True},
}
RIVALS = ("organisers", "coordinates", "spurcrop")
FLOORS = ("meanpoint",)
TABLE = tuple(
    ("average", name)
    for name in (
        "auc", "sensitivity", "specificity", "accuracy", "f1", "ed", "sdr5", "sdr10", "sdr20",
    )
)  # fmt: skip
CLAIMS = (
    Claim("lower distance than with MSE alone", "ed", "mse"),
    Claim("distance below that of the mean training position", "ed", "meanpoint"),
    Claim("AUC well above chance", "auc", None, margin=0.7),
    Claim("AUC above that of shuffled labels, by 0.1", "auc", "shuffled", margin=0.1),
    *(
        Claim(f"lower distance than {name}", "ed", name, kind="reported")
        for name in ("organisers", "coordinates", "no_location", "no_ppm", "no_skips")
    ),
    Claim("the NCC term gains", "ed", "ascoct", arm="ncc", kind="reported"),
    *(
        Claim(f"higher AUC than {name}", "auc", name, kind="reported")
        for name in ("organisers", "spurcrop", "pos_weight")
    ),
)


class Ascoct(method.Method):
    """predict: `score` (B,), the probability of a closed angle; `point` (B, 2), x and y of the spur in source pixels
    of the half; `feature` (B, 1, 48, 48), the maxima of its heat map. As far as `task` says."""

    Config = Config
    data = "asoct"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        if c.task != "classification":  # first, here and in updates: alone it is given the same random numbers
            self.localizer = SpurNet(c.encoder, c.ppm, c.skips)
        if c.task != "localization":
            self.classifier = AngleNet(c.network, c.stem, c.dropout)
        self.register_buffer("threshold", torch.tensor(0.5))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        rates = {"classifier": self.config.classifier_lr, "localizer": self.config.localizer_lr}
        return {name: torch.optim.Adam(net.parameters(), rates[name]) for name, net in self.named_children()}

    def updates(self, batch: Batch) -> Iterator[Update]:
        """A step of the localizer, then one of the classifier; neither sees the other's gradient."""
        spur = to_grid(batch["spur"], batch["scale"])
        if self.config.task != "classification":
            terms = self.terms(*self.turned(batch["image"], spur, batch["known"]))
            yield "localizer", sum(terms.values()), {name: term.detach() for name, term in terms.items()}
        if self.config.task != "localization":
            image, _, _ = self.turned(batch["image"], spur, batch["known"])
            yield "classifier", self.class_loss(image, batch), {}

    def turned(self, image: Tensor, spur: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return turned(image, spur, known, self.rand(len(image), 2), self.config.turn, flip=False)

    def class_loss(self, image: Tensor, batch: Batch) -> Tensor:
        c, net = self.config, self.classifier
        image = framed(image, c.view, c.crop, self.rand(len(image), 2))
        logits = net(image, self.rand(len(image), net.body.out_features))
        target = batch["shuffled" if c.shuffled else "closed"]
        if c.class_loss == "focal":
            return focal(logits, target, c.gamma, c.alpha)
        return weighted_bce(logits, target, c.pos_weight)

    def terms(self, image: Tensor, spur: Tensor, known: Tensor) -> dict[str, Tensor]:
        """The weighted terms of L_KR by name, scalars, over the known spurs (B, 2) on the grid."""
        c, heat, size = self.config, self.localizer(image), image.shape[2:]
        target = gaussian(spur, size, c.sigma)
        terms = {"intensity": known_mean(intensity(heat, target, c.kappa), known)}
        if c.location_weight:
            weight = c.location_weight * ramp(self.epoch - 1, c.ramp)
            terms["location"] = weight * known_mean(location(soft_argmax(heat, c.beta), spur, size), known)
        if c.ncc_weight:
            terms["ncc"] = c.ncc_weight * known_mean(decorrelation(heat, target), known)
        return terms

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        c, found = self.config, {}
        if c.task != "localization":
            found["score"] = self.classifier(framed(batch["image"], c.view, c.crop)).sigmoid()
        if c.task != "classification":
            heat = self.localizer(batch["image"])
            found |= {"point": decode(heat, batch["scale"], c.radius, c.beta), "feature": kept(heat)}
        return found

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return scores(batch, prediction, self.threshold)

    def settle(self, judged: Iterator[tuple[Batch, Batch]]) -> None:
        """Youden's threshold on the validation halves."""
        self.threshold.fill_(settled(judged))

    def pooled(self, scores: Batch) -> Batch:
        return pooled(scores)
