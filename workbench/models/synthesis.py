"""What the synthesis of MR modalities shares: their order, one-hot planes, the generator, and the quality of images.

The networks work on images in [-1, 1]; data and predictions are in [0, 1].
"""

import torch
from torch import Tensor, nn

from workbench import metrics

TARGETS = ("flair", "t1ce", "t1")  # the order of the channels of `target` and `color`, and of the one-hot planes
REFERENCE = 128  # side that the published weight of the reconstruction is meant for, pixels


def halvings(side: int, least: int = 1) -> int:
    """How often a side can be halved without going below `least`.

    >>> halvings(128), halvings(64), halvings(96), halvings(64, least=4)
    (7, 6, 5, 4)
    """
    count = 0
    while side % 2 == 0 and side // 2 >= least:
        side, count = side // 2, count + 1
    return count


def with_planes(image: Tensor, modality: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C + 3, H, W): with constant planes, the one-hot code of each item's modality (B,)."""
    code = torch.nn.functional.one_hot(modality, len(TARGETS)).to(image.dtype)
    return torch.cat([image, code[:, :, None, None].expand(-1, -1, *image.shape[2:])], 1)


def of_modality(images: Tensor, modality: Tensor) -> Tensor:
    """The channel (B, 1, H, W) of each item's modality (B,), of (B, 3, H, W)."""
    return images[torch.arange(len(images), device=images.device), modality][:, None]


def drawn(uniform: Tensor) -> Tensor:
    """A modality (B,) from numbers (B,) in [0, 1), each as likely as the others."""
    return (len(TARGETS) * uniform).long().clamp_max(len(TARGETS) - 1)


class Generator(nn.Module):
    """U-Net of stride-2 4x4 convolutions down to the smallest map, skips at every level, tanh.

    (B, channels, S, S) in [-1, 1], one-hot planes 0 or 1 -> (B, 1, S, S) in [-1, 1]. Widths base, 2, 4 and then 8 times
    base; LeakyReLU 0.2 on the way down, ReLU up; instance norm without parameters but for the first, the innermost and
    the last convolution; weights N(0, 0.02). No dropout, no noise. Source: arXiv 1611.07004 as TC-MGAN's code has it.
    """

    def __init__(self, channels: int, base: int, size: int) -> None:
        super().__init__()
        depth = halvings(size)
        widths = [base * min(2**n, 8) for n in range(depth)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for n, (wide, out) in enumerate(zip([channels, *widths], widths)):
            inner = 0 < n < depth - 1
            self.down.append(layer(nn.LeakyReLU(0.2), nn.Conv2d(wide, out, 4, 2, 1, bias=not inner), inner, n > 0))
        for n in reversed(range(depth)):
            wide, out = widths[n] * (1 if n == depth - 1 else 2), widths[n - 1] if n else 1
            self.up.append(layer(nn.ReLU(), nn.ConvTranspose2d(wide, out, 4, 2, 1, bias=n == 0), n > 0, True))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, 0, 0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> Tensor:
        features, skips = image, []
        for block in self.down:
            features = block(features)
            skips.append(features)
        features = skips.pop()
        for number, block in enumerate(self.up):
            features = block(torch.cat([features, skips.pop()], 1) if number else features)
        return features.float().tanh()


def layer(activation: nn.Module, convolution: nn.Module, normed: bool, active: bool) -> nn.Sequential:
    """Activation first, as its result is no skip: the skip is what the convolution gave."""
    norm = [nn.InstanceNorm2d(convolution.out_channels)] if normed else []
    return nn.Sequential(*([activation] if active else []), convolution, *norm)


# ---------------------------------------------------------------- quality


def quality(color: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """How near the synthetic modalities (B, 3, H, W) in [0, 1] are to the acquired ones, each (B,).

    The mean over modalities of PSNR, SSIM and MAE, whole image, and within the brain (`fg_`); PSNR and SSIM of each
    modality; in the tumour MAE (`mae_tumour`) and contrast-to-noise (`cnr`) with its distance from the acquired one's
    (`cnr_error`), NaN without a tumour.
    """
    target, brain, tumour = batch["target"], batch["foreground"].float(), batch["label"].float()
    named = {"mae": metrics.mae, "psnr": metrics.psnr, "ssim": metrics.structure}
    pairs = [(color[:, n : n + 1].float(), target[:, n : n + 1]) for n in range(len(TARGETS))]
    values = {key: torch.stack([metric(*pair) for pair in pairs]) for key, metric in named.items()}
    inside = {f"fg_{key}": torch.stack([metric(*p, brain) for p in pairs]) for key, metric in named.items()}
    found = {key: value.mean(0) for key, value in (values | inside).items()}
    found |= {f"{key}_{name}": values[key][n] for key in ("psnr", "ssim") for n, name in enumerate(TARGETS)}
    found["mae_tumour"] = metrics.mae(color.float(), target, tumour)
    made, real = (contrast(images.float(), tumour, brain) for images in (color, target))
    return found | {"cnr": made.abs().mean(1), "cnr_error": (made - real).abs().mean(1)}


def contrast(images: Tensor, tumour: Tensor, brain: Tensor) -> Tensor:
    """Signed contrast-to-noise ratio (B, C) of images (B, C, H, W): (mean in the tumour - mean of the rest of the
    brain) / standard deviation of that rest; NaN without a tumour. Masks (B, 1, H, W).
    """
    rest = brain * (1 - tumour)
    means = [(images * mask).sum((2, 3)) / mask.sum((2, 3)) for mask in (tumour, rest)]
    spread = ((images - means[1][:, :, None, None]).square() * rest).sum((2, 3)) / rest.sum((2, 3))
    return (means[0] - means[1]) / spread.sqrt().clamp_min(1e-3)
