"""Scores of the nodes of traces: smoothed along the tree, turned into alerts, and compared with known errors.

Trees are given as in the data: `parent` (..., N), -1 of a root, -2 of padding.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from workbench import metrics

KINDS = ("jump", "overshoot", "missed", "spurious")  # of errors, numbered from 1


def smoothed(score: Tensor, parent: Tensor, rounds: int = 1) -> Tensor:
    """Scores (..., N), each the mean of its own, its parent's and its children's, so many times; padding is 0."""
    shape, count = score.shape, score.shape[-1]
    values, above = score.reshape(-1, count).float(), parent.reshape(-1, count)
    present, linked = (above > -2).float(), (above >= 0).float()
    place = above.clamp_min(0)
    number = present + linked + torch.zeros_like(values).scatter_add(1, place, linked)
    values = values * present
    for _ in range(rounds):
        below = torch.zeros_like(values).scatter_add(1, place, values * linked)
        values = (values + values.gather(1, place) * linked + below) / number.clamp_min(1) * present
    return values.reshape(shape)


def threshold_at(score: Tensor, rate: float) -> Tensor:
    """The lowest threshold that at most this share of scores (N,) lies above; of no scores 0.5."""
    if not len(score):
        return torch.tensor(0.5)
    return score.sort(descending=True).values[min(int(rate * len(score) + 1e-9), len(score) - 1)]


def threshold_of(judged: Iterable[tuple[dict[str, Tensor], dict[str, Tensor]]], rate: float) -> Tensor:
    """The threshold that gives this false-alert rate on the right nodes of whole neurons with their predictions."""
    parts = [prediction["score"][:, 0][batch["onset"][:, 0] == 0] for batch, prediction in judged]
    return threshold_at(torch.cat(parts).cpu(), rate)


def outcome(probability: Tensor, batch: dict[str, Tensor], rounds: int, threshold: Tensor) -> dict[str, Tensor]:
    """What is predicted: `score` (B, V, N), smoothed, and `mask` (B, 1, N), alerts of the trace to judge, 0 or 1."""
    score = smoothed(probability, batch["parent"], rounds)
    return {"score": score, "mask": (score[:, :1] > threshold).float()}


def runs(alert: np.ndarray, parent: np.ndarray) -> np.ndarray:
    """The number, from 1, of the connected run along the tree that each alert (N,) bool is in; 0 for no alert."""
    below = np.flatnonzero(alert & (parent >= 0))
    below = below[alert[parent[below]]]
    graph = coo_array((np.ones(len(below)), (below, parent[below])), (len(parent), len(parent)))
    group = connected_components(graph, directed=False)[1]
    found = np.zeros(len(parent), int)
    found[alert] = np.unique(group[alert], return_inverse=True)[1] + 1
    return found


# ---------------------------------------------------------------- metrics


def scores(batch: dict[str, Tensor], prediction: dict[str, Tensor], threshold: Tensor) -> dict[str, Tensor]:
    """All metrics of whole neurons, each (B,); NaN where a neuron has nothing to count.

    ap, auroc: over the nodes of a neuron, of the onset labels; ap_branch: of the branch labels; auroc_<kind>: of the
    nodes about errors of one kind against right ones. detected: share of errors with an alert within the tolerance,
    however many alerts there are; also by kind. false_alerts: alerts over right nodes, those that are 0 in the onset
    labels; false_alerts_gold: the same on the gold control, and gold_margin the first less the second. false_runs:
    connected runs of alerts that touch neither an error nor a wrong node, for 100 right nodes.
    """
    score, alert = prediction["score"].float()[:, 0], prediction["score"] > threshold
    onset, branch, right = batch["onset"][:, 0], batch["branch"][:, 0], batch["onset"] == 0
    distance = distances(batch)
    near = distance <= batch["tolerance"][:, None, None]
    hit = (near & alert[:, 0, :, None]).any(1)
    found = {
        "ap": by_item(metrics.precision_parts, score, onset), "auroc": by_item(metrics.auc_parts, score, onset),
        "ap_branch": by_item(metrics.precision_parts, score, branch),
        "detected": share(hit, batch["kind"] > 0), "false_alerts": share(alert[:, 0], right[:, 0]),
    }  # fmt: skip
    gold = share(alert[:, 1], right[:, 1]) if right.shape[1] > 1 else torch.full_like(found["ap"], torch.nan)
    found |= {"false_alerts_gold": gold, "gold_margin": found["false_alerts"] - gold}
    found["false_runs"] = false_runs(batch, alert[:, 0], near.any(2))
    nearest = batch["kind"].gather(1, distance.argmin(2))
    for number, name in enumerate(KINDS, 1):
        found[f"detected_{name}"] = share(hit, batch["kind"] == number)
        own = torch.where((onset == 1) & (nearest != number), -1.0, onset)
        found[f"auroc_{name}"] = by_item(metrics.auc_parts, score, own)
    return found


def distances(batch: dict[str, Tensor]) -> Tensor:
    """From each node to each error, (B, N, E) in finest voxels; infinite where there is no node or no error."""
    unit = batch["spacing"] / batch["spacing"].amin(1, keepdim=True)
    apart = (batch["nodes"][:, 0, :, None] - batch["place"][:, None]) * unit[:, None, None]
    known = (batch["kind"] > 0)[:, None] & (batch["parent"][:, 0] > -2)[..., None]
    return torch.where(known, apart.norm(dim=-1), torch.inf)


def share(chosen: Tensor, among: Tensor) -> Tensor:
    """The share (B,) of those among which are chosen, both (B, N) bool; NaN of none."""
    return (chosen & among).sum(1).float() / among.sum(1)


def by_item(parts: Callable[[Tensor, Tensor], Tensor], score: Tensor, label: Tensor) -> Tensor:
    """The mean (B,) of a metric's parts over the nodes (B, N) of each trace, those left out by -1 not counted."""
    values = [parts(one[known >= 0], known[known >= 0]).nanmean() for one, known in zip(score, label)]
    return torch.stack(values)


def false_runs(batch: dict[str, Tensor], alert: Tensor, near: Tensor) -> Tensor:
    """Runs of alerts (B, N) of right nodes alone, none near an error (B, N), for 100 right nodes: (B,)."""
    right = batch["onset"][:, 0] == 0
    found = []
    for own, parent, allowed in zip(alert, batch["parent"][:, 0], right & ~near):
        run = runs(own.cpu().numpy(), parent.cpu().numpy())
        touched = np.unique(run[~allowed.cpu().numpy()])
        found.append(float(len(np.setdiff1d(np.unique(run[run > 0]), touched))))
    return 100 * torch.tensor(found, device=alert.device) / right.sum(1)
