"""Several findings in one image: the loss where some are unknown, scores an item, the mean area under the ROC curve."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.metrics import auc_parts


def known_bce(logits: Tensor, label: Tensor, known: Tensor) -> Tensor:
    """Binary cross entropy of logits (B, L) against labels (B, L), the mean over the known ones; 0 where none is.

    >>> known_bce(torch.tensor([[0.0, 9.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]]))
    tensor(0.6931)
    """
    losses = F.binary_cross_entropy_with_logits(logits.float(), label, reduction="none")
    return (losses * known).sum() / known.sum().clamp_min(1)


def names(labels: str) -> list[str]:
    """The findings that a data set's spec names.

    >>> names("nodule,effusion")
    ['nodule', 'effusion']
    """
    return [name for name in labels.split(",") if name]


def scores(batch: dict[str, Tensor], score: Tensor, labels: Sequence[str]) -> dict[str, Tensor]:
    """Scores by item, (B,), of probabilities (B, L), NaN where nothing is known.

    `accuracy` is the share of the known findings on whose side of 1/2 the score lies, `top1` whether the likeliest
    finding is there (NaN without any); beside them `score_nodule`, `label_nodule`, ..., which `pooled` needs.
    """
    label, known = batch["label"], batch["known"] > 0.5
    right = ((score >= 0.5) == (label > 0.5)) & known
    first = label.gather(1, score.argmax(1, keepdim=True))[:, 0]
    found = {"accuracy": right.sum(1) / torch.where(known.any(1), known.sum(1), torch.nan)}
    found["top1"] = torch.where((label * known).sum(1) > 0, first, torch.nan)
    for column, name in enumerate(labels):
        found[f"score_{name}"] = score[:, column].float()
        found[f"label_{name}"] = torch.where(known[:, column], label[:, column], torch.nan)
    return found


def pooled(scores: dict[str, Tensor], labels: Sequence[str]) -> dict[str, Tensor]:
    """Each item's part of the area under the ROC curve of each finding, `auc_nodule`, and of their mean, `auc`, (N,).

    The mean of each is the area. A finding whose images are all of one kind has NaN and is left out of `auc`.
    """
    found = {f"auc_{name}": both_parts(scores[f"score_{name}"], scores[f"label_{name}"]) for name in labels}
    if len(labels) == 1:
        return {"auc": next(iter(found.values()))}
    parts = torch.stack([value for value in found.values()])
    judged = parts[~parts.isnan().all(1)]
    shares = judged.nan_to_num() / (~judged.isnan()).sum(1, keepdim=True) * parts.shape[1]
    return found | {"auc": shares.mean(0) if len(judged) else torch.full_like(parts[0], torch.nan)}


def both_parts(score: Tensor, label: Tensor) -> Tensor:
    """Each item's part of the AUC, (N,), NaN where the label is: how many of the other kind are on its right side.

    Positives and negatives weigh half each, so that the mean is the AUC and both kinds show its uncertainty (the
    placement values of DeLong et al., Biometrics 1988). NaN everywhere where a kind is missing.

    >>> both_parts(torch.tensor([0.9, 0.4, 0.6, 0.1]), torch.tensor([1.0, 1.0, 0.0, 0.0]))
    tensor([1.0000, 0.5000, 0.5000, 1.0000])
    """
    known = ~label.isnan()
    own, yes = score[known], label[known] > 0.5
    positive, negative = auc_parts(own, yes.float()), auc_parts(-own, (~yes).float())
    halves = torch.where(yes, positive / (2 * yes.sum()), negative / (2 * (~yes).sum())) * len(own)
    if not yes.any() or yes.all():
        halves = torch.full_like(own, torch.nan)
    return torch.full_like(score, torch.nan).masked_scatter(known, halves)
