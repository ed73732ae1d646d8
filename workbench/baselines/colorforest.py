"""A floor: statistics of an image's colours, and a random forest on them. It sees no shape and no border.

What a network gains above this is what it sees beside colour; one that gains nothing has learned colour alone. The
statistics of all training images are kept with the weights, and the forest is grown from them when it is first asked:
the same numbers give the same forest. Its shares of votes are smoothed, one vote more for every class, so that no class
is impossible. How alike it takes classes to be is read from the classes' mean statistics, each scaled by its deviation.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed

from workbench import method
from workbench.config import Count, Natural
from workbench.method import Batch, Update
from workbench.models.classifier import correlation, once, pooled, scores, structure

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
FEATURES = 2 * 3 * (2 + len(QUANTILES)) + 3


@dataclass(frozen=True)
class Config(method.Config):
    trees: Count = 200  # of the forest (inferred)
    leaf: Count = 1  # fewest training images in a leaf (scikit-learn's default)
    forest_seed: Natural = 0  # of the forest's own random numbers
    classes: str = "first,second"  # names of the classes, from the data
    similarity: tuple | list = ()  # known similarity of the classes, row by row, from the data; only scores read it


TINY = {"train": 600, "valid": 200, "test": 400, "epochs": 1, "batch": 8, "valid_every": 0}
DEMO = TINY
PAPER = {"trees": 500, "size": 256, "train": 7010, "valid": 1002, "test": 2003, "epochs": 1, "batch": 10}


def statistics(image: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> (B, 45): means, deviations and quantiles of each channel in the whole image and in
    its middle (half as wide and high), and how far the middle's means lie from those of the rest."""
    image = image.float()
    rows, columns = (slice(side // 4, side - side // 4) for side in image.shape[2:])
    middle = image[:, :, rows, columns].flatten(2)
    whole, found = image.flatten(2), []
    marks = torch.tensor(QUANTILES, device=image.device)
    for part in (whole, middle):
        found += [part.mean(2), part.std(2), *torch.quantile(part, marks, dim=2)]
    rest = (whole.sum(2) - middle.sum(2)) / (whole.shape[2] - middle.shape[2])
    return torch.cat([*found, middle.mean(2) - rest], 1)


class ColorForest(method.Method):
    """predict: `probability` (B, K), the smoothed shares of votes, and `logits`, their logarithms; `feature` (B, 45),
    the statistics. Before training all classes are as likely."""

    Config = Config
    data = "lesion"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.count, self.forest = len(config.classes.split(",")), None
        self.register_buffer("seen", torch.zeros(0, FEATURES))
        self.register_buffer("known", torch.zeros(0, dtype=torch.long))

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in ("seen", "known"):  # they grow while the method trains
            setattr(self, name, torch.empty_like(state[prefix + name], device=self.device))
        self.forest = None
        super()._load_from_state_dict(state, prefix, *rest)

    def updates(self, batch: Batch) -> Iterator[Update]:
        """Only keeps statistics; in the first epoch every image comes once, but for an incomplete last batch."""
        if self.epoch == 1:
            self.seen = torch.cat([self.seen, gathered(statistics(batch["image"]))])
            self.known = torch.cat([self.known, gathered(batch["class"])])
            self.forest = None
        yield from ()

    def grown(self) -> Any:
        """The forest of what has been seen."""
        from sklearn.ensemble import RandomForestClassifier

        c = self.config
        forest = RandomForestClassifier(c.trees, min_samples_leaf=c.leaf, random_state=c.forest_seed)
        return forest.fit(self.seen.cpu().numpy(), self.known.cpu().numpy())

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        feature = statistics(batch["image"])
        votes = torch.zeros(len(feature), self.count, device=feature.device)
        if len(self.known):
            self.forest = self.forest or self.grown()
            shares = torch.from_numpy(self.forest.predict_proba(feature.cpu().numpy())).to(votes)
            votes[:, self.forest.classes_.tolist()] = shares * self.config.trees
        logits = ((votes + 1) / (self.config.trees + self.count)).log()
        return {"logits": logits, "probability": logits.softmax(1), "feature": feature}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return scores(batch, prediction)

    def pooled(self, scores: Batch) -> Batch:
        found, count = pooled(scores), len(scores["nll"])
        if len(self.known.unique()) < self.count:
            return found
        scaled = self.seen / self.seen.std(0).clamp_min(1e-6)
        means = torch.stack([scaled[self.known == k].mean(0) for k in range(self.count)])
        return found | once(structure(correlation(means - means.mean(0)), self.config.similarity), count)


def gathered(values: Tensor) -> Tensor:
    """Those of all processes, in the order of their ranks."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return values
    parts = [torch.empty_like(values) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, values)
    return torch.cat(parts)
