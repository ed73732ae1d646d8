"""The generator and the critic that the colorization methods share, so that only what a paper changes differs."""

from itertools import pairwise

from torch import Tensor, nn


def block(wide: int, out: int, kernel: int, stride: int = 1, border: str = "zeros") -> nn.Sequential:
    """Convolution and ReLU; `border` is what stands beyond the image, as in nn.Conv2d."""
    conv = nn.Conv2d(wide, out, kernel, stride, kernel // 2, padding_mode=border)
    return nn.Sequential(conv, nn.ReLU(inplace=True))


class Residual(nn.Module):
    """Two convolutions with instance norm around a shortcut; (B, C, H, W) in and out."""

    def __init__(self, wide: int, border: str = "zeros") -> None:
        super().__init__()
        same = {"padding": 1, "bias": False, "padding_mode": border}  # the norm takes a bias away
        convs = [nn.Conv2d(wide, wide, 3, **same) for _ in range(2)]
        norms = [nn.InstanceNorm2d(wide) for _ in range(2)]
        self.body = nn.Sequential(convs[0], norms[0], nn.ReLU(inplace=True), convs[1], norms[1])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Encoder(nn.Module):
    """conv7 to `base`, two stride-2 convolutions, `blocks` residual blocks.

    (B, C, H, W) -> features (B, base, H, W), (B, 2 base, H/2, W/2), (B, 4 base, H/4, W/4). Only the residual blocks are
    normalised (inferred): a norm on the first layers would take away whether the background is black or white.
    """

    def __init__(self, channels: int, base: int, blocks: int) -> None:
        super().__init__()
        self.first = block(channels, base, 7)
        self.down1, self.down2 = block(base, 2 * base, 3, 2), block(2 * base, 4 * base, 3, 2)
        self.residual = nn.Sequential(*(Residual(4 * base) for _ in range(blocks)))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first = self.first(image)
        half = self.down1(first)
        return first, half, self.residual(self.down2(half))


class Decoder(nn.Module):
    """Two upsamplings with the encoder's features added, then conv7 to `channels`: features -> (B, channels, H, W).

    Nearest upsampling before a convolution leaves no checkerboard; the added features spare the bottleneck the grey
    values, which every floor has for nothing (both inferred).
    """

    def __init__(self, base: int, channels: int) -> None:
        super().__init__()
        self.larger = nn.Upsample(scale_factor=2)
        self.up1, self.up2 = block(4 * base, 2 * base, 3), block(2 * base, base, 3)
        self.last = nn.Conv2d(base, channels, 7, padding=3)

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        first, half, quarter = features
        return self.last(first + self.up2(self.larger(half + self.up1(self.larger(quarter)))))


class Generator(nn.Module):
    """Encoder and decoder with a tanh, (B, in, H, W) in [0, 1] -> (B, out, H, W) in [0, 1]; H and W multiples of 4."""

    def __init__(self, channels: int, out: int, base: int, blocks: int) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(channels, base, blocks), Decoder(base, out)

    def forward(self, image: Tensor) -> Tensor:
        return (self.decoder(self.encoder(2 * image - 1)).tanh() + 1) / 2


class PatchCritic(nn.Sequential):
    """70x70 PatchGAN (Isola et al., arXiv 1611.07004): (B, C, H, W) in [0, 1] -> (B, 1, h, w), one score a patch.

    4x4 convolutions of `base`, 2, 4 and 8 times `base` channels; the last two have stride 1. No normalisation: batch
    statistics would couple the samples whose gradients are penalised one by one. `depth` 3 has a smaller field. With
    `norm` all but the first convolution have instance normalisation, as in released code of CycleGAN.
    """

    def __init__(self, channels: int, base: int, depth: int = 4, norm: bool = False) -> None:
        widths = [channels] + [base * 2**n for n in range(depth)]
        layers: list[nn.Module] = []
        for n, (wide, out) in enumerate(pairwise(widths)):
            normed = norm and n > 0  # the norm takes a bias away
            layers += [nn.Conv2d(wide, out, 4, 2 if n < depth - 1 else 1, 1, bias=not normed)]
            layers += [nn.InstanceNorm2d(out)] if normed else []
            layers += [nn.LeakyReLU(0.2, inplace=True)]
        super().__init__(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(2 * image - 1)
