"""CIELAB (D65) with its three channels scaled to [0, 1], always in float32: under autocast kornia's would be bf16."""

import torch
from kornia.color import lab_to_rgb, rgb_to_lab
from torch import Tensor

REACH = 110.0  # largest |a| or |b| that the scale holds; sRGB reaches -86 to 98 in a, -108 to 94 in b


def to_lab(color: Tensor) -> Tensor:
    """Scaled Lab, (B, 3, H, W), of sRGB (B, 3, H, W) in [0, 1]: L / 100, (a + 110) / 220, (b + 110) / 220.

    >>> to_lab(torch.ones(1, 3, 1, 1))[0, 0].round(decimals=3)
    tensor([[1.]])
    """
    with torch.autocast(color.device.type, enabled=False):
        lab = rgb_to_lab(color.float())
    return torch.cat([lab[:, :1] / 100, (lab[:, 1:] + REACH) / (2 * REACH)], 1)


def to_rgb(lab: Tensor) -> Tensor:
    """sRGB, (B, 3, H, W) in [0, 1], of scaled Lab (B, 3, H, W); what lies outside the gamut is clipped."""
    lab = lab.float()
    with torch.autocast(lab.device.type, enabled=False):
        return lab_to_rgb(torch.cat([100 * lab[:, :1], 2 * REACH * lab[:, 1:] - REACH], 1))


def lightness(image: Tensor) -> Tensor:
    """L / 100, (B, 1, H, W) in [0, 1], of grey (B, 1, H, W) in [0, 1] shown as neutral sRGB."""
    return to_lab(image.expand(-1, 3, -1, -1))[:, :1]
