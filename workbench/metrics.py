"""Metrics, one value an item, in float32 whatever the precision around them: thin names over kornia and MONAI."""

import warnings
from collections.abc import Mapping

import torch
from kornia.color import rgb_to_lab
from kornia.metrics import ssim
from torch import Tensor

PSNR_CAP = 100.0  # dB; what two equal images get instead of infinity


def mae(image: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean absolute error, (B,), of images (B, C, H, W); over the pixels of mask (B, 1, H, W) where given."""
    return average((image - target).abs(), mask)


def mse(image: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared error, (B,), as `mae`."""
    return average((image - target).square(), mask)


def psnr(image: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio in dB, (B,), for images in [0, 1]: 10 log10(1 / MSE), at most 100 dB.

    >>> psnr(torch.full((1, 3, 8, 8), 0.6), torch.full((1, 3, 8, 8), 0.5))
    tensor([20.0000])
    """
    return (-10 * torch.log10(mse(image, target, mask).clamp_min(1e-12))).clamp_max(PSNR_CAP)


def structure(image: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """SSIM, (B,), of images (B, C, H, W) in [0, 1]: 11x11 Gaussian window, sigma 1.5 (Wang et al., 2004).

    Only windows that lie inside the image count; with a mask (B, 1, H, W), those whose centre lies in it.
    """
    with torch.autocast(image.device.type, enabled=False):
        values = ssim(image.float(), target.float(), window_size=11, max_val=1.0, padding="valid")
    return average(values, mask[..., 5:-5, 5:-5] if mask is not None else None)


def leakage(color: Tensor, foreground: Tensor) -> Tensor:
    """Chroma in the background, (B,): mean CIELAB C* of sRGB (B, 3, H, W) in [0, 1] outside foreground (B, 1, H, W).

    A neutral background has 0; a difference of about 2 can just be seen.
    """
    with torch.autocast(color.device.type, enabled=False):
        lab = rgb_to_lab(color.float().clamp(0, 1))
    return average(lab[:, 1:].norm(dim=1, keepdim=True), 1 - foreground)


def iou(mask: Tensor, target: Tensor) -> Tensor:
    """Intersection over union, (B,), of two binary masks (B, 1, H, W); 1 where both are empty."""
    mask, target = mask > 0.5, target > 0.5
    union = (mask | target).flatten(1).sum(1)
    return torch.where(union > 0, (mask & target).flatten(1).sum(1) / union.clamp_min(1), 1.0)


def average(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean an item, over the mask where given; NaN where the mask is empty."""
    if mask is None:
        return values.float().flatten(1).mean(1)
    weight = mask.float().expand_as(values).flatten(1)
    return (values.float().flatten(1) * weight).sum(1) / weight.sum(1)


def colorization(batch: dict[str, Tensor], prediction: dict[str, Tensor]) -> dict[str, Tensor]:
    """All metrics of a colorization, each (B,): whole image, foreground, leakage, and IoU if there is a mask."""
    color, target, inside = prediction["color"].float(), batch["target"], batch["foreground"]
    scores = {f"{name}": metric(color, target) for name, metric in REFERENCE.items()}
    scores |= {f"fg_{name}": metric(color, target, inside) for name, metric in REFERENCE.items()}
    scores["leakage"] = leakage(color, inside)
    if "mask" in prediction:
        scores["iou"] = iou(prediction["mask"], inside)
    return scores


REFERENCE = {"mae": mae, "mse": mse, "psnr": psnr, "ssim": structure}


# ---------------------------------------------------------------- segmentation


def classes(names: str) -> dict[str, tuple[int, ...]]:
    """The label values of classes that are named in the order of their values.

    >>> classes("anterior,posterior")
    {'anterior': (1,), 'posterior': (2,)}
    """
    return {name: (value,) for value, name in enumerate(names.split(","), 1)}


def dice(mask: Tensor, target: Tensor) -> Tensor:
    """Dice's coefficient 2 |A and B| / (|A| + |B|), (B,), of two binary masks (B, ...); 1 where both are empty."""
    mask, target = mask.flatten(1) > 0.5, target.flatten(1) > 0.5
    total = mask.sum(1) + target.sum(1)
    return torch.where(total > 0, 2 * (mask & target).sum(1) / total.clamp_min(1), 1.0)


def tpf(mask: Tensor, target: Tensor) -> Tensor:
    """True positive fraction, (B,), of two binary masks (B, ...); 1 where the target is empty."""
    mask, target = mask.flatten(1) > 0.5, target.flatten(1) > 0.5
    total = target.sum(1)
    return torch.where(total > 0, (mask & target).sum(1) / total.clamp_min(1), 1.0)


def centroid(mask: Tensor, target: Tensor, spacing: Tensor) -> Tensor:
    """Distance of the centroids in mm, (B,), of two binary masks (B, 1, *S) with spacing (B, D) mm a voxel.

    0 where both are empty, the image's diagonal where one is.
    """
    return apart(mask, target, spacing, (middle(mask, spacing) - middle(target, spacing)).norm(dim=1))


def middle(mask: Tensor, spacing: Tensor) -> Tensor:
    """The centroid (B, D) of a binary mask (B, 1, *S) in mm from the first voxel; NaN of an empty one."""
    weight, sides = (mask[:, 0] > 0.5).float(), range(1, mask.ndim - 1)
    sums = [weight.sum([axis for axis in sides if axis != kept]) for kept in sides]
    means = [(s * torch.arange(s.shape[1], device=s.device)).sum(1) / s.sum(1) for s in sums]
    return torch.stack(means, 1) * spacing


def hd95(mask: Tensor, target: Tensor, spacing: Tensor, percentile: float | None = 95) -> Tensor:
    """Symmetric Hausdorff distance in mm, (B,), at its 95th percentile: binary masks (B, 1, *S), spacing (B, D).

    The larger of the two directed percentiles of distances between the borders, by MONAI on SciPy's Euclidean
    transform; None is the greatest distance. 0 where both are empty, the image's diagonal where one is.
    """
    from monai.metrics import compute_hausdorff_distance

    one, two = (m.cpu() > 0.5 for m in (mask, target))
    full = one.flatten(1).any(1) & two.flatten(1).any(1)
    found = torch.zeros(len(mask))
    for item in full.nonzero()[:, 0].tolist():
        pair = (one[item : item + 1].float(), two[item : item + 1].float())
        options = {"include_background": True, "percentile": percentile, "spacing": spacing[item].tolist()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # MONAI 1.5 warns of an argument that it passes itself
            found[item] = compute_hausdorff_distance(*pair, **options).item()
    return apart(mask, target, spacing, found.to(mask.device))


def apart(mask: Tensor, target: Tensor, spacing: Tensor, distance: Tensor) -> Tensor:
    """The distance where both masks have something; 0 where neither has, the image's diagonal where one has not."""
    one, two = ((m.flatten(1) > 0.5).any(1) for m in (mask, target))
    sides = torch.tensor(mask.shape[2:], device=mask.device)
    diagonal = (sides * spacing).norm(dim=1)
    return torch.where(one & two, distance, torch.where(one | two, diagonal, 0.0))


def segmentation(
    batch: dict[str, Tensor], prediction: dict[str, Tensor], labels: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    """Dice, TPF, HD95 and centroid distance (mm), each (B,), of the label maps `mask` and `label` (B, 1, *S).

    A mean over the classes under the plain name, and where there are several `dice_cup`, `hd95_cup`, ... beside it. A
    class that is predicted and not there, or there and not predicted, has the image's diagonal for its distances.
    """
    scores: dict[str, Tensor] = {}
    for name, values in labels.items():
        wanted = torch.tensor(values, device=batch["label"].device)
        mask, target = (torch.isin(m.round().long(), wanted) for m in (prediction["mask"], batch["label"]))
        spacing = batch["spacing"]
        scores |= {f"dice_{name}": dice(mask, target), f"tpf_{name}": tpf(mask, target)}
        scores |= {f"hd95_{name}": hd95(mask, target, spacing), f"centroid_{name}": centroid(mask, target, spacing)}
    kinds = ("dice", "hd95", "centroid", "tpf")
    means = {kind: torch.stack([scores[f"{kind}_{name}"].float() for name in labels]).mean(0) for kind in kinds}
    return means | (scores if len(labels) > 1 else {})


def auc_parts(score: Tensor, positive: Tensor) -> Tensor:
    """Each positive's part of the area under the ROC curve: the share of negatives that score lower, (N,).

    Ties count half; NaN for negatives, and everywhere where a side is empty. Their mean is the AUC. `score` (N,),
    `positive` (N,) 1 or 0. Source: the placement values of DeLong et al., Biometrics 1988.
    """
    yes = positive > 0.5
    others = score[~yes].sort().values
    below, upto = (torch.searchsorted(others, score, right=right) for right in (False, True))
    return torch.where(yes, (below + upto) / (2 * len(others)), torch.nan)


def precision_parts(score: Tensor, positive: Tensor) -> Tensor:
    """Each positive's part of the average precision: the share of positives among all that score no lower, (N,).

    NaN for negatives. Their mean is the average precision, the area under the stepwise precision-recall curve.
    """
    yes = positive > 0.5
    everyone, right = score.sort().values, score[yes].sort().values
    counts = [len(values) - torch.searchsorted(values, score) for values in (right, everyone)]
    return torch.where(yes, counts[0] / counts[1], torch.nan)


# ---------------------------------------------------------------- classification

BINS = 15  # of confidence in the calibration error, as torchmetrics has them


def tallies(label: Tensor, called: Tensor) -> tuple[Tensor, Tensor]:
    """How many items (K,) have each class and how many are called it: `label`, `called` (N,) class numbers."""
    count = int(torch.cat([label, called]).max()) + 1
    have, said = (torch.bincount(values.long(), minlength=count).float() for values in (label, called))
    return have, said


def recall_parts(label: Tensor, called: Tensor) -> Tensor:
    """Each item's part (N,) of the balanced accuracy: their mean is the mean recall of the classes that there are.

    >>> recall_parts(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 0, 0])).mean()
    tensor(0.5000)
    """
    have, _ = tallies(label, called)
    return (label == called) * len(label) / ((have > 0).sum() * have[label.long()])


def f1_parts(label: Tensor, called: Tensor) -> Tensor:
    """Each item's part (N,) of the macro F1: their mean is the mean of 2 TP / (have + called) over the classes.

    Classes that no item has or is called are left out.
    """
    have, said = tallies(label, called)
    total = have + said
    return (label == called) * 2 * len(label) / ((total > 0).sum() * total[label.long()])


def calibration_parts(confidence: Tensor, right: Tensor, bins: int = BINS) -> Tensor:
    """Each item's part (N,) of the expected calibration error (ECE): their mean is the error.

    The items fall into equal bins of `confidence` (N,) in [0, 1]; the error is the mean over items of their bin's
    |mean of confidence - mean of `right`| (Guo et al., arXiv 1706.04599). A part may be negative.
    """
    place = torch.bucketize(confidence, torch.linspace(0, 1, bins + 1, device=confidence.device)[1:-1])
    gap = confidence - right
    sums = torch.zeros(bins, dtype=gap.dtype, device=gap.device).index_add(0, place, gap)
    return gap * sums.sign()[place]


def spearman(one: Tensor, two: Tensor) -> float:
    """Rank correlation of two sets of numbers (N,), ties sharing their mean rank; NaN where one is constant."""
    from scipy.stats import spearmanr

    if len(one) < 2 or one.unique().numel() < 2 or two.unique().numel() < 2:
        return float("nan")
    return float(spearmanr(one.double().cpu(), two.double().cpu()).statistic)
