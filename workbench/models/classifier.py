"""What all classifiers of lesions share: network, variation of training images, scores, and how alike classes are.

How alike two classes are is the cosine of their mean-centred vectors: those of a plug-in block, or the rows of the
classifier's last layer where there is none.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import metrics
from workbench.models.backbones import backbone, load_weights


class Classifier(nn.Module):
    """Images (B, C, H, W) in [0, 1] -> features (B, D) and logits (B, K), float32: a backbone and one linear layer.

    Source: the plain network of cclnet's card.
    """

    def __init__(self, name: str, channels: int, classes: int, base: int = 16) -> None:
        super().__init__()
        self.backbone = backbone(name, channels, base=base)
        self.head = nn.Linear(self.backbone.width, classes)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        feature = self.backbone(2 * image - 1)
        return feature.float(), self.head(feature).float()


class Classified:
    """The part of a Method that a classifier of lesions has whatever it is trained on; its Config has the fields of
    `baselines/hardlabels.py`. How alike it takes two classes to be is read from the weights of its last layer."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.classifier = Classifier(config.backbone, config.channels, len(config.classes.split(",")), config.base)

    def begin(self) -> None:
        if self.config.weights:
            load_weights(self.classifier.backbone, self.config.weights)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"net": torch.optim.Adam(self.parameters(), self.config.lr, weight_decay=self.config.decay)}

    def seen(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Features and logits of a varied training batch."""
        draw = self.rand(len(batch["image"]), DRAWS)
        return self.classifier(varied(batch["image"], draw, self.config.crop, self.config.jitter))

    def predict(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return answer(self.classifier, batch["image"], self.config.crop)

    def score(self, batch: Mapping[str, Tensor], prediction: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return scores(batch, prediction)

    @property
    def correlation(self) -> Tensor:
        """R (K, K), how alike the network takes the classes to be."""
        return correlation(self.classifier.head.weight.detach())

    def pooled(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return pooled(scores) | once(structure(self.correlation, self.config.similarity), len(scores["nll"]))

    def learned(self) -> dict[str, Tensor]:
        return matrices(self.correlation, self.config.similarity)


def answer(classifier: Classifier, image: Tensor, crop: int = 0) -> dict[str, Tensor]:
    """What a classifier says of images (B, C, H, W), of which it sees the middle `crop` pixels (0: all): `logits` and
    `probability` (B, K), and `feature` (B, D), what its last layer saw."""
    feature, logits = classifier(cut(image, crop))
    return {"logits": logits, "probability": logits.softmax(1), "feature": feature}


def varied(image: Tensor, draw: Tensor, crop: int, jitter: float) -> Tensor:
    """Training images (B, 3, H, W): a square of `crop` pixels (0: all), one of its eight turns and mirrors, in light
    of another strength and colour, each within +-`jitter`. `draw` (B, 9), uniform in [0, 1), decides."""
    image = cut(image, crop, draw[:, :2])
    gain = 1 + jitter * (2 * draw[:, 5:9] - 1)
    image = (image * (gain[:, :1] * gain[:, 1:])[..., None, None]).clamp(0, 1)
    flips = [(draw[:, i] < 0.5).view(-1, 1, 1, 1) for i in (2, 3, 4)]
    for flip, turned in zip(flips, (lambda x: x.flip(2), lambda x: x.flip(3), lambda x: x.transpose(2, 3))):
        image = torch.where(flip, turned(image), image)
    return image


DRAWS = 9  # numbers an item that `varied` takes


def cut(image: Tensor, crop: int, draw: Tensor | None = None) -> Tensor:
    """A square of `crop` pixels (0: all) of square images, at the place that `draw` (B, 2) chooses or in the middle."""
    free = image.shape[3] - crop
    if not crop or free <= 0:
        return image
    if draw is None:
        return image[..., free // 2 : free // 2 + crop, free // 2 : free // 2 + crop]
    places = (draw * (free + 1)).long().tolist()
    return torch.stack([one[:, top : top + crop, left : left + crop] for one, (top, left) in zip(image, places)])


def smoothed(label: Tensor, classes: int, epsilon: float) -> Tensor:
    """Targets (B, K) of class numbers (B,): 1 - epsilon on the class and epsilon spread evenly over all K.

    Source: Szegedy et al., arXiv 1512.00567, section 7. With epsilon 0 they are one-hot.
    """
    return (1 - epsilon) * F.one_hot(label, classes).float() + epsilon / classes


# ---------------------------------------------------------------- scores


def scores(batch: dict[str, Tensor], prediction: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scores by item, (B,): `accuracy`, `nll` in nats, and what `pooled` needs: `label`, `called`, `confidence`."""
    logs = prediction["logits"].float().log_softmax(1)
    top, called = logs.max(1)
    label = batch["class"]
    nll = -logs.gather(1, label[:, None])[:, 0]
    right = (called == label).float()
    return {"label": label.float(), "called": called.float(), "confidence": top.exp(), "accuracy": right, "nll": nll}


def pooled(scores: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each item's part (N,) of the balanced accuracy, of the macro `f1` and of `ece`: their means are the metrics."""
    label, called = scores["label"], scores["called"]
    return {
        "balanced_accuracy": metrics.recall_parts(label, called),
        "f1": metrics.f1_parts(label, called),
        "ece": metrics.calibration_parts(scores["confidence"], scores["accuracy"]),
    }


# ---------------------------------------------------------------- how alike classes are


def correlation(vectors: Tensor) -> Tensor:
    """R (K, K) in [-1, 1] of class vectors (K, n): the cosine of each less the mean of its own n components.

    That is Pearson's coefficient of their components; it is symmetric and its diagonal is 1.

    >>> correlation(torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3.0, 2.0, 1.0]]))[0]
    tensor([ 1.0000,  1.0000, -1.0000])
    """
    centred = F.normalize(vectors.float() - vectors.float().mean(1, keepdim=True), dim=1)
    return (centred @ centred.T).clamp(-1, 1)


def off_diagonal(matrix: Tensor) -> Tensor:
    """The K (K - 1) entries of a matrix (K, K) beside its diagonal, row by row, as (K, K - 1)."""
    count = len(matrix)
    return matrix[~torch.eye(count, dtype=torch.bool, device=matrix.device)].view(count, count - 1)


def structure(found: Tensor, known: Sequence[Sequence[float]]) -> dict[str, float]:
    """What R `found` (K, K) has learned: `spread`, the deviation of its off-diagonal entries, and where the similarity
    of the classes is known: `spearman`, the rank correlation of both above the diagonal, and the mean R inside pairs
    (`r_inside`), across them (`r_across`) and their difference `r_gap`; NaN where it is not.

    Pairs are what has the greatest known similarity. Two levels of it are ties: for four pairs of eight classes the
    rank correlation is at most 0.607.
    """
    told = {"spread": float(off_diagonal(found).std(correction=0))}
    if not len(known):
        return told | dict.fromkeys(("spearman", "r_inside", "r_across", "r_gap"), float("nan"))
    above = torch.ones_like(found, dtype=torch.bool).triu(1)
    true, seen = torch.tensor(known, device=found.device)[above], found[above]
    pairs = true == true.max()
    inside, across = float(seen[pairs].mean()), float(seen[~pairs].mean())
    gap = {"r_inside": inside, "r_across": across, "r_gap": inside - across}
    return told | {"spearman": metrics.spearman(true, seen)} | gap


def matrices(found: Tensor, known: Sequence[Sequence[float]]) -> dict[str, Tensor]:
    """R (K, K) as `correlation` and beside it, where it is known, the `similarity`: what is kept of a run."""
    return {"correlation": found} | ({"similarity": torch.tensor(known)} if len(known) else {})


def once(values: dict[str, float], count: int) -> dict[str, Tensor]:
    """Numbers of a whole run as scores (N,) that only the first item has: their spread is over runs, not items."""
    return {
        key: torch.cat([torch.tensor([value]), torch.full((count - 1,), torch.nan)]) for key, value in values.items()
    }
