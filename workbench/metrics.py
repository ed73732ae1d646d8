"""Metrics, one value an item, in float32 whatever the precision around them: thin names over kornia."""

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
