"""CCL-Net: soft labels from correlations between classes that the network learns beside its classifier.

One-hot targets tell a network that all wrong classes are equally wrong, and it becomes over-confident. A light block
beside the classifier learns a vector for each class by distance metric learning; how these vectors correlate says how
alike the classes look, and softens the labels while they are learned. In use the block is dropped.

Source: Wei et al., Learning and Exploiting Interclass Visual Correlations for Medical Image Classification, arXiv
2007.06371 (MICCAI 2020). No code is known; this is a reconstruction after the abstract, which names the plug-in block,
metric learning of class embeddings, a loss from a geometrical reading of correlation, soft labels made on the fly and
training end to end. Inferred: all formulas and their weights, the block's size, the proxy loss, R as the cosine of
centred embeddings, mixing and temperature of the soft labels, warm-up, augmentation, optimizer. The learning rate falls
as a cosine, where the card infers a drop on plateaus.

Where all classes are equally far apart, `spread`, the deviation of R beside its diagonal, is 0 and the soft labels are
those of label smoothing; it is logged. L_CC alone does not lead there: it is (1 + mean of R) / 2 and sees how long the
sum of the directions is, nothing else, so any directions that cancel are as good for it as equal angles. Weighing too
much it drowns what the metric learning has to say. Embeddings that begin as long as they are to become (`long_start`)
hardly leave their random directions in a short training: they must begin short.

What five seeds on phantoms say (claims/cclnet.json): the block does learn which classes are alike, and the classifier
gains nothing by it that could be told from chance. Shuffled correlations, random ones (`long_start`) and hard labels
are as good. The phantom's classes do not overlap, so hard labels are the truth and no network there is over-confident
by much; and at tau 0.25 and a = 0.2 the look-alike gets one hundredth of the target. More of it raises the likelihood's
loss on validation, and L_DML at its inferred weight takes the backbone away from its task (`heavy_dml`). With 12 epochs
no arm has found the border cue yet and the arms differ by how fast they are; hence the 30.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import method
from workbench.compare import Claim
from workbench.config import Count, Fraction, Natural, Positive, Weight
from workbench.method import Batch, Update
from workbench.models.backbones import Backbone
from workbench.models.classifier import Classified, correlation, off_diagonal


@dataclass(frozen=True)
class Config(method.Config):
    backbone: Backbone = "small"  # network below the classifier; paper scale resnet50 (card: widely used ones)
    base: Count = 16  # width of the first block of small and depthwise (card: about 60k parameters)
    weights: str = ""  # file or hub id of weights for the backbone; ImageNet at paper scale (inferred)
    start: Positive = 0.03  # deviation of the components of the embeddings before training (calibrated)
    embedding: Count = 32  # n, components of a class embedding (card: tiny preset); paper scale 128 (inferred)
    dml_weight: Weight = 0.1  # l1 of L_DML (calibrated; inferred: 1, which holds the classifier up)
    cc_weight: Weight = 0.1  # l2 of L_CC (inferred)
    kl_weight: Weight = 1.0  # l3 of the divergence from the soft labels (inferred)
    tau: Positive = 0.25  # temperature of the soft labels (inferred); 1 over-softens
    mix: Fraction = 0.2  # a, share of the correlations in a soft label (inferred)
    warmup: Natural = 3  # epochs with l3 = 0, while the embeddings are still random (inferred)
    detach: bool = False  # keep L_DML from the backbone (inferred: end to end is the default)
    shuffled: bool = False  # a control: every soft label's values beside its class are dealt to other classes
    crop: Natural = 0  # side of the square that is seen, pixels, 0: all; paper scale 224 of 256 (inferred)
    jitter: Fraction = 0.1  # largest change of a training image's light and colours (inferred: mild)
    lr: Positive = 3e-3  # Adam's rate (calibrated with all rivals'; card: 1e-3); paper scale 1e-4 (inferred)
    decay: Weight = 1e-4  # weight decay (inferred)
    channels: Count = 3  # of the images, from the data
    classes: str = "first,second"  # names of the classes, from the data
    similarity: tuple | list = ()  # known similarity of the classes, row by row, from the data; only scores read it


TINY = {"train": 600, "valid": 200, "test": 400, "epochs": 30, "batch": 32, "schedule": "cosine"}
DEMO = TINY
PAPER = {
    "backbone": "resnet50", "embedding": 128, "dml_weight": 1.0, "warmup": 5, "crop": 224, "lr": 1e-4, "size": 256,
    "train": 7010, "valid": 1002, "test": 2003, "epochs": 100, "batch": 32, "schedule": "cosine",
}  # fmt: skip
PLAIN = {"kl_weight": 0.0, "cc_weight": 0.0}
ABLATIONS = {
    "dml": PLAIN,
    "no_cc": {"cc_weight": 0.0},
    "shuffled": {"shuffled": True},
    "detached": {"detach": True},
    "heavy_cc": {"cc_weight": 100.0},
    "heavy_dml": {"dml_weight": 1.0},
    "tau1": {"tau": 1.0, "mix": 1.0},
    "no_warmup": {"warmup": 0},
    "long_start": {"start": 0.18},
    "depthwise": {"backbone": "depthwise"},
}
RIVALS = ("hardlabels", "lsr")
FLOORS = ("colorforest",)
TABLE = tuple(
    ("average", name) for name in ("accuracy", "f1", "balanced_accuracy", "ece", "nll", "spearman", "r_gap", "spread")
)
CLAIMS = (
    Claim("classes of a pair correlate more than others", "r_gap", None),
    Claim("learned correlations rank as the known similarity does", "spearman", None, margin=0.5),
    Claim("on a depthwise backbone, too", "spearman", None, margin=0.5, kind="reported", arm="depthwise"),
    *(
        Claim(f"{words} than {name}", metric, name, kind="reported")
        for name in ("hardlabels", "lsr", "shuffled", "dml", "no_cc", "detached", "colorforest")
        for words, metric in (("higher macro F1", "f1"), ("lower NLL", "nll"))
    ),
    *(
        Claim(f"{words} than {name} on a depthwise backbone", metric, f"{name}-depthwise", 0.0, "reported", "depthwise")
        for name in ("hardlabels", "lsr")
        for words, metric in (("higher macro F1", "f1"), ("lower NLL", "nll"))
    ),
    Claim("better ranks than the weights of a classifier trained on hard labels", "spearman", "hardlabels", 0.0,
          "reported"),
)  # fmt: skip


class Block(nn.Module):
    """The plug-in block: features (B, D) -> squared distances (B, K) from the embedding of every class.

    `start` is the deviation of the embeddings' components before training.
    """

    def __init__(self, width: int, components: int, classes: int, start: float) -> None:
        super().__init__()
        self.project = nn.Linear(width, components)
        self.embeddings = nn.Parameter(start * torch.randn(classes, components))
        order = torch.stack([circled(classes - 1) for _ in range(classes)])
        self.register_buffer("order", order)  # (K, K - 1), who gets whose value where soft labels are shuffled

    def forward(self, feature: Tensor) -> Tensor:
        with torch.autocast(feature.device.type, enabled=False):
            placed = self.project(feature.float())
            return (placed[:, None] - self.embeddings).square().sum(2)


def circled(count: int) -> Tensor:
    """A random permutation of `count` numbers that leaves none in its place, where there are two or more."""
    ring = torch.randperm(count)
    return torch.empty_like(ring).scatter(0, ring, ring.roll(1))


# ---------------------------------------------------------------- losses


def metric_loss(distance: Tensor, label: Tensor) -> Tensor:
    """L_DML, a scalar: cross entropy of the softmax over -distance (B, K) with the classes (B,)."""
    return F.cross_entropy(-distance, label)


def apartness(found: Tensor) -> Tensor:
    """L_CC, a scalar in [0, 1]: the mean of (1 + R) / 2 over the entries of R (K, K) beside the diagonal."""
    return (1 + off_diagonal(found)).mean() / 2


def soft_labels(found: Tensor, tau: float, mix: float, order: Tensor | None = None) -> Tensor:
    """S~ (K, K), the target of every class: (1 - mix) one-hot + mix softmax(R / tau), without a gradient.

    With `order` (K, K - 1) the values beside the diagonal are dealt to other classes, row by row.
    """
    soft = (found.detach() / tau).softmax(1)
    if order is not None:
        beside = ~torch.eye(len(soft), dtype=torch.bool, device=soft.device)
        soft = soft.masked_scatter(beside, off_diagonal(soft).gather(1, order))
    return (1 - mix) * torch.eye(len(soft), device=soft.device) + mix * soft


def divergence(target: Tensor, logits: Tensor) -> Tensor:
    """KL(target || softmax(logits)) in nats, a scalar: the mean over items (B, K)."""
    return F.kl_div(logits.log_softmax(1), target, reduction="batchmean")


class CclNet(Classified, method.Method):
    """predict: `logits` and `probability` (B, K); `feature` (B, D), the pooled features that the classifier sees. The
    block has no part in it. What correlates with what is in its weights: `block.embeddings` (K, n), see `correlation`.
    """

    Config = Config
    data = "lesion"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.block = Block(
            self.classifier.backbone.width, config.embedding, len(config.classes.split(",")), config.start
        )

    def updates(self, batch: Batch) -> Iterator[Update]:
        c, label = self.config, batch["class"]
        feature, logits = self.seen(batch)
        found = correlation(self.block.embeddings)
        terms = {"ce": F.cross_entropy(logits, label)}
        terms["dml"] = c.dml_weight * metric_loss(self.block(feature.detach() if c.detach else feature), label)
        terms["cc"] = c.cc_weight * apartness(found)
        if c.kl_weight and self.epoch > c.warmup:
            target = soft_labels(found, c.tau, c.mix, self.block.order if c.shuffled else None)
            terms["kl"] = c.kl_weight * divergence(target[label], logits)
        logs = {name: term.detach() for name, term in terms.items()}
        yield "net", sum(terms.values()), logs | {"spread": off_diagonal(found.detach()).std(correction=0)}

    @property
    def correlation(self) -> Tensor:
        """R (K, K), how alike the network takes the classes to be."""
        return correlation(self.block.embeddings.detach())
