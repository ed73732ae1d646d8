"""Image encoders by name: a small one of our own, ResNets and EfficientNets of MONAI, whole or as feature pyramids."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from workbench.models.unet import level

Network = Literal["tiny", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
Encoder = Literal[
    "tiny", "resnet34", "resnet50", "efficientnet-b0", "efficientnet-b1", "efficientnet-b2", "efficientnet-b3",
    "efficientnet-b4",
]  # fmt: skip
Stem = Literal["deep", "plain"]
WIDTHS = (8, 16, 32, 64)  # of the small encoder and the small classifier (card: tiny preset)
RESNETS = {
    "resnet18": ("basic", [2, 2, 2, 2]), "resnet34": ("basic", [3, 4, 6, 3]), "resnet50": ("bottleneck", [3, 4, 6, 3]),
    "resnet101": ("bottleneck", [3, 4, 23, 3]), "resnet152": ("bottleneck", [3, 8, 36, 3]),
}  # fmt: skip


class Tiny(nn.Module):
    """(B, channels, H, W) -> features of four levels: 8, 16, 32 and 64 channels at the strides 2, 4, 8 and 16.

    The first stride lays squares of four pixels over one another: nothing is lost, and all convolutions are cheap.
    """

    def __init__(self, channels: int = 1, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.levels = nn.ModuleList(level(2, i, o) for i, o in zip((4 * channels, *widths), widths))

    def forward(self, image: Tensor) -> list[Tensor]:
        found, features = [], nn.functional.pixel_unshuffle(image, 2)
        for number, block in enumerate(self.levels):
            features = block(nn.functional.max_pool2d(features, 2) if number else features)
            found.append(features)
        return found


def deep_stem(channels: int, width: int) -> nn.Sequential:
    """Three 3x3 convolutions of stride 2, 1, 1 in place of one 7x7; the last has no norm, the ResNet's follows."""
    layers: list[nn.Module] = []
    for wide, out, stride in ((channels, width // 2, 2), (width // 2, width // 2, 1), (width // 2, width, 1)):
        layers += [nn.Conv2d(wide, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-2])


def resnet(name: str, stem: Stem = "plain", squeeze: bool = False, channels: int = 1) -> nn.Module:
    """MONAI's ResNet: (B, channels, H, W) -> pooled features; `out_features` is their number.

    `stem` deep is the revised one (Bag of Tricks, arXiv 1812.01187); `squeeze` adds squeeze-and-excitation before each
    residual sum (arXiv 1709.01507). Random weights; names match torchvision's, the deep stem and SE apart.
    """
    from monai.networks.blocks import ChannelSELayer
    from monai.networks.nets.resnet import ResNet, get_inplanes

    block, depths = RESNETS[name]
    widths = get_inplanes()
    net = ResNet(
        block, depths, widths, 2, channels, conv1_t_size=7, conv1_t_stride=2, feed_forward=False, bias_downsample=False
    )
    if stem == "deep":
        net.conv1 = deep_stem(channels, widths[0])
    last = "bn2" if block == "basic" else "bn3"
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4) if squeeze else ():
        for one in stage:
            norm = getattr(one, last)
            setattr(one, last, nn.Sequential(norm, ChannelSELayer(2, norm.num_features)))
    net.out_features = widths[-1] * (1 if block == "basic" else 4)
    return net


class ResNetPyramid(nn.Module):
    """(B, channels, H, W) in [0, 1] -> features of a ResNet at the strides 2, 4, 8, 16 and 32."""

    def __init__(self, name: str, channels: int = 1) -> None:
        super().__init__()
        self.net = resnet(name, channels=channels)
        self.widths = (64, *(self.net.out_features >> n for n in (3, 2, 1, 0)))

    def forward(self, image: Tensor) -> list[Tensor]:
        net = self.net
        found = [net.act(net.bn1(net.conv1(2 * image - 1)))]
        features = net.maxpool(found[0])
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            features = stage(features)
            found.append(features)
        return found


class EfficientNetPyramid(nn.Module):
    """(B, channels, H, W) in [0, 1] -> features of an EfficientNet (MONAI) at the strides 2, 4, 8, 16 and 32."""

    def __init__(self, name: str, channels: int = 1) -> None:
        from monai.networks.nets import EfficientNetBNFeatures
        from monai.networks.nets.efficientnet import EfficientNetEncoder

        super().__init__()
        self.net = EfficientNetBNFeatures(name, pretrained=False, in_channels=channels)
        for unused in ("_conv_head", "_bn1", "_fc"):  # what only a classifier needs
            delattr(self.net, unused)
        names = EfficientNetEncoder.get_encoder_names()
        self.widths = EfficientNetEncoder.num_channels_per_output()[names.index(name)]

    def forward(self, image: Tensor) -> list[Tensor]:
        return self.net(2 * image - 1)


def pyramid(name: str, channels: int = 1) -> nn.Module:
    """The feature pyramid of that name; `widths` are its channels, finest level first, at stride 2."""
    if name == "tiny":
        return Tiny(channels)
    return (ResNetPyramid if name.startswith("resnet") else EfficientNetPyramid)(name, channels)


class Pooled(nn.Module):
    """(B, 1, H, W) in [0, 1] -> (B, out_features), a network's features averaged over the image."""

    def __init__(self, name: str, stem: Stem = "plain", squeeze: bool = False) -> None:
        super().__init__()
        self.net = Tiny() if name == "tiny" else resnet(name, stem, squeeze)
        self.out_features = WIDTHS[-1] if name == "tiny" else self.net.out_features

    def forward(self, image: Tensor) -> Tensor:
        found = self.net(2 * image - 1)
        return found[-1].mean((2, 3)) if isinstance(found, list) else torch.flatten(found, 1)
