"""Backbones by name, in two or three dimensions: images to pooled features, and weights from files mapped by key.

Small networks of our own beside MONAI's ResNets, DenseNet and EfficientNet, whose names of parameters match those of
the published ImageNet weights (after the renamings below). Nothing is downloaded unless a hub id asks for it.
"""

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from workbench.errors import InvalidParameter, unknown

Backbone = Literal[
    "small",
    "depthwise",
    "residual",
    "resnet10",
    "resnet18",
    "resnet34",
    "resnet50",
    "densenet121",
    "efficientnet-b0",
    "vgg11",
]
HUB = "https://huggingface.co"  # where HF_ENDPOINT names no other
CONV = {2: nn.Conv2d, 3: nn.Conv3d}
NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAXIMUM = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
CLASSIFIER = re.compile(r"(^|\.)(fc|_fc|head|classifier|class_layers|last_linear|conv_seg)\.")
SPELLINGS = (  # of MONAI's and of published files -> one: a DenseNet's layers, an EfficientNet's nested blocks
    (re.compile(r"(denselayer\d+)\.layers\."), r"\1."),
    (re.compile(r"(denselayer\d+\.\w+)\.([12]\.)"), r"\1\2"),
    (re.compile(r"(_blocks)\.\d+(\.\d+\.)"), r"\1\2"),
)
NAMED = 3  # keys that an error names


class Pooled(nn.Module):
    """(B, C, *S) -> (B, width): a network's last features averaged over the image."""

    def __init__(self, net: nn.Module, width: int) -> None:
        super().__init__()
        self.net, self.width = net, width

    def forward(self, image: Tensor) -> Tensor:
        features = self.net(image)
        return features.flatten(2).mean(2) if features.ndim > 2 else features


def backbone(name: str, channels: int, dims: int = 2, base: int = 16) -> Pooled:
    """The network of that name, (B, channels, *S) -> (B, width), with random weights; S has `dims` sides.

    `base` is the width of the first block of `small` (base, 2, 4, 4 times base), `depthwise` and `residual` (up to 8
    times base).

    >>> backbone("small", channels=3)(torch.zeros(2, 3, 48, 48)).shape
    torch.Size([2, 64])

    Raises:
        InvalidParameter: an unknown name, or other than 2 or 3 sides.
    """
    if name not in get_args(Backbone):
        raise unknown("backbone", name, get_args(Backbone))
    if dims not in CONV:
        raise InvalidParameter("dims", "2 or 3 sides", str(dims), "give images or volumes")
    own = {"small": small, "depthwise": depthwise, "residual": residual, "vgg11": vgg11}
    if name in own:
        return own[name](channels, dims, base)
    if name.startswith("resnet"):
        return resnet(name, channels, dims)
    return densenet121(channels, dims) if name == "densenet121" else efficientnet(name, channels, dims)


# ---------------------------------------------------------------- the networks


def layer(dims: int, inputs: int, outputs: int, stride: int = 1, groups: int = 1, kernel: int = 3) -> list[nn.Module]:
    """A convolution without bias, batch norm and ReLU."""
    convolution = CONV[dims](inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, NORM[dims](outputs), nn.ReLU()]


def small(channels: int, dims: int, base: int) -> Pooled:
    """Four plain blocks that halve the sides between them; a side of one voxel stays."""
    widths, parts = (channels, base, 2 * base, 4 * base, 4 * base), []
    for number, (wide, out) in enumerate(pairwise(widths)):
        parts += [MAXIMUM[dims](2, ceil_mode=True)] if number else []
        parts += layer(dims, wide, out)
    return Pooled(nn.Sequential(*parts), widths[-1])


def depthwise(channels: int, dims: int, base: int) -> Pooled:
    """Convolutions channel by channel, then between channels. Source: MobileNet, arXiv 1704.04861, cut short."""
    widths, parts = (base, 2 * base, 4 * base, 8 * base), layer(dims, channels, base, stride=2)
    for wide, out in pairwise(widths):
        parts += layer(dims, wide, wide, stride=2, groups=wide) + layer(dims, wide, out, kernel=1)
    return Pooled(nn.Sequential(*parts), widths[-1])


class Block(nn.Module):
    """(B, C, *S) -> (B, width, *S / stride): two convolutions, and what goes in is added. Source: arXiv 1512.03385."""

    def __init__(self, dims: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*layer(dims, inputs, outputs, stride), *layer(dims, outputs, outputs)[:2])
        same = stride == 1 and inputs == outputs
        self.across = nn.Identity() if same else nn.Sequential(*layer(dims, inputs, outputs, stride, kernel=1)[:2])

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.across(x))


def residual(channels: int, dims: int, base: int) -> Pooled:
    """A ResNet cut short: a first convolution that halves the sides, and four blocks, of which three halve them."""
    widths, parts = (base, base, 2 * base, 4 * base, 8 * base), layer(dims, channels, base, stride=2)
    parts += [Block(dims, wide, out, 1 if wide == out else 2) for wide, out in pairwise(widths)]
    return Pooled(nn.Sequential(*parts), widths[-1])


def vgg11(channels: int, dims: int, base: int) -> Pooled:
    """The convolutions of VGG11 (arXiv 1409.1556), numbered as published; the mean replaces its dense layers."""
    parts, wide = [], channels
    for out in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512):
        if not out:
            parts.append(MAXIMUM[dims](2, ceil_mode=True))
            continue
        parts += [CONV[dims](wide, out, 3, padding=1), nn.ReLU()]
        wide = out
    return Pooled(nn.Sequential(*parts, MAXIMUM[dims](2, ceil_mode=True)), wide)


def resnet(name: str, channels: int, dims: int) -> Pooled:
    from monai.networks.nets.resnet import ResNet, get_inplanes

    depths = {"resnet10": [1, 1, 1, 1], "resnet18": [2, 2, 2, 2]}.get(name, [3, 4, 6, 3])
    block, widths = "bottleneck" if name == "resnet50" else "basic", get_inplanes()
    net = ResNet(
        block, depths, widths, dims, channels, conv1_t_size=7, conv1_t_stride=2, feed_forward=False,
        bias_downsample=False,
    )  # fmt: skip
    return Pooled(net, widths[-1] * (4 if block == "bottleneck" else 1))


def densenet121(channels: int, dims: int) -> Pooled:
    from monai.networks.nets import DenseNet121

    net = DenseNet121(spatial_dims=dims, in_channels=channels, out_channels=1)
    width = net.class_layers.out.in_features
    net.class_layers.out = nn.Identity()
    return Pooled(net, width)


def efficientnet(name: str, channels: int, dims: int) -> Pooled:
    """Without dropout and dropped blocks: their random numbers would not belong to the items of the batch."""
    from monai.networks.nets import EfficientNetBN

    net = EfficientNetBN(name, pretrained=False, spatial_dims=dims, in_channels=channels, num_classes=1)
    width, net._dropout, net._fc = net._fc.in_features, nn.Identity(), nn.Identity()
    for stack in net._blocks:
        for block in stack:
            block.drop_connect_rate = 0.0
    return Pooled(net, width)


# ---------------------------------------------------------------- weights from files


@dataclass(frozen=True)
class Report:
    """What of a file of weights went into a network, by key.

    `matched` are the network's keys that were filled, `reshaped` those of them whose channels or sides were adapted;
    `missing` are counters (of batches) that the file does not have; `unexpected` are the file's keys that were left
    out, such as its classifier.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]

    def __str__(self) -> str:
        parts = (f"{len(getattr(self, name))} {name}" for name in ("matched", "missing", "unexpected", "reshaped"))
        return ", ".join(parts)


def load_weights(net: nn.Module, source: str | Path) -> Report:
    """Fill a backbone from a local .safetensors, .pt or .pth file, or from a hub id `hf:owner/repo/file`.

    Keys are mapped by name: what stands before all of them ("module.", "encoder.") is found by itself, published names
    of DenseNets and EfficientNets are known, classifiers are left out. The first convolution may see other channels
    (three are summed to one, one is spread over three), and kernels of two sides are spread over a third (arXiv
    1705.07750). The network is changed only if all of it is filled.

    Raises:
        InvalidParameter: no such file, one that is not weights, or those of another architecture (first keys named).
    """
    path = fetched(str(source)) if str(source).startswith("hf:") else Path(source)
    inner = net.net if isinstance(net, Pooled) else net
    own, found = inner.state_dict(), read(path)
    names = {spelt(key): key for key in own}
    prefix = prefix_of(found, names)
    chosen = {names[short]: key for key in found if key.startswith(prefix) and (short := spelt(key, prefix)) in names}
    left = [key for key in found if key not in chosen.values()]
    missing = [key for key in own if key not in chosen]
    first = next((key for key, value in own.items() if value.ndim > 2), "")
    fitted = {key: adapted(found[name], own[key], key == first) for key, name in chosen.items()}
    strange = [key for key in left if key.startswith(prefix) and not CLASSIFIER.search(key)]
    refuse(path, "not in the file", [key for key in missing if not key.endswith("num_batches_tracked")])
    refuse(path, "not in the network", [key for key in strange if not key.endswith("num_batches_tracked")])
    refuse(path, "of another shape", [key for key, value in fitted.items() if value.shape != own[key].shape])
    inner.load_state_dict(own | fitted)
    reshaped = [key for key, name in chosen.items() if found[name].shape != own[key].shape]
    return Report(tuple(fitted), tuple(missing), tuple(left), tuple(reshaped))


def refuse(path: Path, how: str, keys: list[str]) -> None:
    """Raises InvalidParameter where there are keys, naming the first."""
    if keys:
        more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
        found = f"{len(keys)} keys {how}: {', '.join(keys[:NAMED])}{more}"
        remedy = "choose the backbone and size that the file was trained with; nothing was loaded"
        raise InvalidParameter(path.name, "weights of this architecture", found, remedy)


def spelt(key: str, prefix: str = "") -> str:
    """A key without its prefix in the one spelling that files and networks share."""
    key = key.removeprefix(prefix)
    for pattern, replacement in SPELLINGS:
        key = pattern.sub(replacement, key)
    return key


def prefix_of(found: Mapping[str, Tensor], names: Mapping[str, str]) -> str:
    """What stands before most of the network's names among the keys of a file; the first of several that tie."""
    counts: Counter[str] = Counter()
    for key in found:
        cuts = [0, *(place.end() for place in re.finditer(r"\.", key))]
        counts.update(key[:cut] for cut in cuts if spelt(key[cut:]) in names)
    return counts.most_common(1)[0][0] if counts else ""


def adapted(value: Tensor, own: Tensor, first: bool) -> Tensor:
    """Weights spread over a third side where the network has one, and over its channels in the first convolution."""
    if value.ndim == 4 and own.ndim == 5:
        depth = own.shape[2]
        value = value[:, :, None].expand(-1, -1, depth, -1, -1) / depth
    if first and value.ndim == own.ndim and value.shape[1] != own.shape[1]:
        value = value.sum(1, keepdim=True).expand(-1, own.shape[1], *value.shape[2:]) / own.shape[1]
    return value


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by key; of a checkpoint those under "state_dict" or "model"."""
    remedy = "give a .safetensors, .pt or .pth file of weights"
    if not path.is_file():
        raise InvalidParameter("weights", "a file", f"none at {path}", remedy)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise whatever the damaged bytes provoke
        raise InvalidParameter(path.name, "a file of weights", type(error).__name__, remedy) from error
    for name in ("state_dict", "model"):
        found = found[name] if isinstance(found, Mapping) and isinstance(found.get(name), Mapping) else found
    if not isinstance(found, Mapping):
        raise InvalidParameter(path.name, "a file of weights", type(found).__name__, remedy)
    return {key: value for key, value in found.items() if isinstance(value, Tensor)}


def fetched(source: str) -> Path:
    """The file of a hub id `hf:owner/repo/file`, downloaded once into torch's folder of the user.

    Raises:
        InvalidParameter: another form of id, or no such file on the hub.
    """
    match = re.fullmatch(r"hf:([\w.-]+)/([\w.-]+)/([\w./-]+\.(?:safetensors|pth?|bin))", source)
    if not match or ".." in source:
        raise InvalidParameter("weights", "a hub id hf:owner/repo/file", repr(source), "name the file too")
    owner, repository, name = match.groups()
    path = Path(torch.hub.get_dir(), "workbench", owner, repository, *name.split("/"))
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        url = f"{os.environ.get('HF_ENDPOINT', HUB)}/{owner}/{repository}/resolve/main/{name}"
        try:
            torch.hub.download_url_to_file(url, str(path))
        except OSError as error:
            remedy = "check the id and the network, or give a local file"
            raise InvalidParameter("weights", f"{name} on the hub", str(error), remedy) from error
    return path
