"""DeepLabv3+ on MobileNetV2 at output stride 16: the segmentor of paper-scale fundus work."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# (expansion, channels, blocks, stride, dilation); the stride of 160 is traded for a dilation of 2, arXiv 1802.02611
STAGES = (
    (1, 16, 1, 1, 1), (6, 24, 2, 2, 1), (6, 32, 3, 2, 1), (6, 64, 4, 2, 1), (6, 96, 3, 1, 1), (6, 160, 3, 1, 2),
    (6, 320, 1, 1, 2),
)  # fmt: skip
EARLY = 3  # the stem and the stages up to stride 4, whose 24 channels the decoder takes up
RATES = (6, 12, 18)  # of the dilated convolutions at output stride 16


def block(wide: int, out: int, kernel: int, act: type[nn.Module], **options: int) -> nn.Sequential:
    """Convolution that keeps the size at stride 1, batch norm, activation."""
    padding = kernel // 2 * options.get("dilation", 1)
    conv = nn.Conv2d(wide, out, kernel, padding=padding, bias=False, **options)
    return nn.Sequential(conv, nn.BatchNorm2d(out), act())


class Inverted(nn.Module):
    """Expand, filter each channel, project: an inverted residual (arXiv 1801.04381); added where shapes agree."""

    def __init__(self, wide: int, out: int, expansion: int, stride: int, dilation: int) -> None:
        super().__init__()
        inner = wide * expansion
        self.same = stride == 1 and wide == out
        self.body = nn.Sequential(
            block(wide, inner, 1, nn.ReLU6) if expansion > 1 else nn.Identity(),
            block(inner, inner, 3, nn.ReLU6, stride=stride, dilation=dilation, groups=inner),
            block(inner, out, 1, nn.Identity),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.same else self.body(x)


class MobileNet(nn.Module):
    """MobileNetV2 without its classifier: (B, C, H, W) -> (B, 24, H/4, W/4) and (B, 320, H/16, W/16)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        stages, wide = [block(channels, 32, 3, nn.ReLU6, stride=2)], 32
        for expansion, out, count, stride, dilation in STAGES:
            blocks = [
                Inverted(wide if n == 0 else out, out, expansion, 1 if n else stride, dilation) for n in range(count)
            ]
            stages, wide = [*stages, nn.Sequential(*blocks)], out
        self.early, self.late = nn.Sequential(*stages[:EARLY]), nn.Sequential(*stages[EARLY:])

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        early = self.early(image)
        return early, self.late(early)


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: features at four rates and of the whole image, (B, wide, H, W) -> (B, out, H, W).

    The branch of the whole image has a bias in place of a norm: a batch of one has nothing to normalise there.
    """

    def __init__(self, wide: int, out: int) -> None:
        super().__init__()
        dilated = [block(wide, out, 3, nn.ReLU, dilation=rate) for rate in RATES]
        self.branches = nn.ModuleList([block(wide, out, 1, nn.ReLU), *dilated])
        self.whole = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(wide, out, 1), nn.ReLU())
        self.join = block(out * (len(RATES) + 2), out, 1, nn.ReLU)

    def forward(self, x: Tensor) -> Tensor:
        whole = self.whole(x).expand(-1, -1, *x.shape[2:])
        return self.join(torch.cat([*(branch(x) for branch in self.branches), whole], 1))


class DeepLab(nn.Module):
    """(B, channels, H, W) in [0, 1] -> logits (B, outputs, H, W); sides of at least 32 pixels.

    Source: arXiv 1802.02611 with the encoder of arXiv 1801.04381, randomly initialised; widths 256 and 48 (paper).
    """

    def __init__(self, channels: int, outputs: int, width: int = 256) -> None:
        super().__init__()
        self.encoder, self.pyramid = MobileNet(channels), Pyramid(320, width)
        self.early = block(24, 48, 1, nn.ReLU)
        self.decoder = nn.Sequential(block(width + 48, width, 3, nn.ReLU), block(width, width, 3, nn.ReLU))
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, image: Tensor) -> Tensor:
        early, late = self.encoder(2 * image - 1)
        late = F.interpolate(self.pyramid(late), early.shape[2:], mode="bilinear", align_corners=False)
        logits = self.head(self.decoder(torch.cat([self.early(early), late], 1)))
        return F.interpolate(logits, image.shape[2:], mode="bilinear", align_corners=False)
