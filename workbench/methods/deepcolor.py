"""Deep colorization: a light module makes three channels of a grey image, so that a network for photographs sees more.

Networks trained on millions of photographs expect colour; X-rays have one channel. A module of half a million weights
maps grey to three channels before such a network. It is taught by the classification loss alone: no colour is given,
and none is reconstructed. Only the module and a new last layer learn at first, then everything does; the module can be
taken over to another set of X-rays. The claim is about few labelled images.

Source: Morra, Piano, Lamberti, Tommasi: Bridging the gap between Natural and Medical Images through Deep Colorization,
ICPR 2020, arXiv 2005.10589, with the official modules; its ancestor is (DE)^2CO, arXiv 1703.10881. A re-implementation
from facts: the modules have the numbers of weights of the released code; training settings and tables were not at hand.
Inferred: loss, rates, batch, the uncertainty of labels, the experiment in place of ImageNet and CheXpert: coloured
images of materials, whose hue and texture a network learns, and grey ones in which attenuation shows the materials in
another order. No number here reproduces a table of the paper.
Decided: a frozen part is in evaluation mode, so its batch statistics stay (`drift` lets them go on moving, as freezing
by `requires_grad` alone does). The published mean and spread belong to the grey image before the module; what the
module gives is not normalised again, and has no bound.
Known fault of the released code, not taken over: it names a module that does not exist.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import method
from workbench.compare import Claim
from workbench.config import Count, Fraction, Natural, Positive
from workbench.errors import InvalidParameter
from workbench.method import Batch, Stage, Update
from workbench.models import findings
from workbench.models.backbones import Backbone, backbone, load_weights

FIXED = ("jet", "repeat")  # modules that have nothing to learn
Freeze = Literal["nothing", "backbone", "backbone_head", "module", "all_but_head", "all"]
Module = Literal["pixelshuffle", "deconv", "resize", "coloru", "de2co", "affine", "jet", "repeat"]
LEARNING = {  # the parts that learn; in the released code UNFREEZE_ALL, FREEZE_PTMODEL_NO_FC, FREEZE_PTMODEL,
    # FREEZE_DECO, FREEZE_ALL_NO_FC and FREEZE_ALL
    "nothing": ("colorizer", "backbone", "head"), "backbone": ("colorizer", "head"), "backbone_head": ("colorizer",),
    "module": ("backbone", "head"), "all_but_head": ("head",), "all": (),
}  # fmt: skip


@dataclass(frozen=True)
class Config(method.Config):
    channels: Count = 1  # of an image, from the data
    labels: str = "finding"  # names of the findings, from the data
    colorizer: Module = "pixelshuffle"  # what makes three channels of one; the paper has pixelshuffle, deconv, coloru
    width: Count = 16  # channels of the trunk (card: tiny preset); paper scale 64 (code)
    blocks: Count = 2  # residual blocks of the trunk (card: tiny preset); paper scale 8 (code)
    u_width: Count = 8  # channels of ColorU's first block (card: tiny preset); paper scale 16 (code)
    backbone: Backbone = "small"  # network for photographs; paper scale densenet121 or resnet18 (code)
    base: Count = 16  # first width of a small backbone (card: tiny preset)
    weights: str = ""  # of the backbone: a file, or a hub id hf:owner/repo/file; where empty natural images teach it
    start: Literal["first_stage", "natural", "other_site", "scratch", "scratch_stage"] = "first_stage"  # what is before
    freeze: Freeze = "nothing"  # what does not learn; the first stage freezes the backbone (code)
    drift: bool = False  # the batch statistics of frozen parts go on moving (inferred: off)
    mean: Fraction = 0.5028  # of the grey image, taken off before the module (code)
    std: Positive = 0.2902  # of the grey image, divided by before the module (code)
    lr: Positive = 1e-4  # Adam's rate where the backbone learns (card, inferred; 3e-4 is as good)
    first_lr: Positive = 3e-3  # Adam's rate of module and last layer before a frozen backbone (card 1e-3, inferred)
    head_lr: Positive = 3e-2  # Adam's rate where the last layer learns alone (tuned for the rivals' sake)
    first_epochs: Natural = 0  # of the first stage; where 0 as many as of the second
    natural_lr: Positive = 2e-3  # Adam's rate on natural images, falling as a cosine (inferred)
    natural_epochs: Count = 8  # on natural images (card: 5, too few for more than 90 %)
    natural_images: Count = 2000  # natural images to learn from (card: tiny preset)


TINY = {
    "source": "materials", "size": 48, "train": 512, "labelled": 32, "valid": 200, "test": 400, "epochs": 60,
    "batch": 16, "valid_every": 5, "best": "auc",
}  # fmt: skip
DEMO = TINY | {"labelled": 128, "epochs": 30}
PAPER = {
    "size": 224, "width": 64, "blocks": 8, "u_width": 16, "backbone": "densenet121", "epochs": 30, "batch": 32,
    "weights": "densenet121.safetensors",  # ImageNet's; hf:timm/densenet121.tv_in1k/model.safetensors is such a file
    "lr": 1e-4, "first_lr": 1e-3, "head_lr": 1e-3, "best": "auc", "patience": 3, "valid_every": 1,
    "train": 190000, "valid": 2000, "test": 20000,
    "uncertain": "Atelectasis=ones,Edema=ones,zeros",
    "labels": "Atelectasis,Cardiomegaly,Consolidation,Edema,Pleural Effusion",
}  # fmt: skip
NATURAL = {"source": "natural", "root": "", "labels": "", "site": "a", "part": "labelled", "labelled": 0}
FIRST = {"start": "natural", "freeze": "backbone"}
GREY, JET = {"colorizer": "repeat", "lr": 3e-3}, {"colorizer": "jet", "lr": 1e-3}  # tuned, as all rates
AFFINE = {"colorizer": "affine", "first_lr": 3e-2, "lr": 3e-3}
AT_B = {"site": "b", "freeze": "all_but_head"}
ABLATIONS = {
    "stage1": FIRST,
    **{name: {"colorizer": name} for name in ("deconv", "coloru")},
    **{f"{name}_stage1": {"colorizer": name} | FIRST for name in ("deconv", "coloru")},
    "greyscale": GREY,
    "greyscale_probe": GREY | FIRST,
    "jet": JET,
    "jet_probe": JET | FIRST,
    "linear": AFFINE,
    "linear_stage1": AFFINE | FIRST,
    "de2co": {"colorizer": "de2co"} | FIRST,
    "scratch": {"start": "scratch_stage", "lr": 1e-3},
    "random_frozen": {"start": "scratch", "freeze": "backbone"},
    "drift": FIRST | {"drift": True},
    "transfer": {"start": "other_site"} | AT_B,
    "transfer_random": {"start": "natural"} | AT_B,
    "transfer_greyscale": GREY | {"start": "natural"} | AT_B,
}
RIVALS = ()
FLOORS = ("gradhist",)
TABLE = tuple(("average", name) for name in ("auc", "accuracy"))
CLAIMS = (
    Claim(
        "module and last layer beat grey x 3 before the same frozen backbone", "auc", "greyscale_probe", arm="stage1"
    ),
    Claim("fine-tuned, loses less than 0.02 to grey x 3", "auc", "greyscale", margin=-0.02),
    Claim("the other site's module beats a random one", "auc", "transfer_random", arm="transfer"),
    Claim("the other site's module beats grey x 3", "auc", "transfer_greyscale", arm="transfer"),
    *(
        Claim(f"first stage: beats {text}", "auc", other, kind="reported", arm="stage1")
        for text, other in (
            ("a fixed colour map", "jet_probe"),
            ("an affine map", "linear_stage1"),
            ("a random frozen backbone", "random_frozen"),
            ("moving batch statistics", "drift"),
        )
    ),
    *(
        Claim(f"{arm}: beats grey x 3", "auc", "greyscale_probe", kind="reported", arm=arm)
        for arm in ("deconv_stage1", "coloru_stage1", "de2co")
    ),
    *(
        Claim(f"fine-tuned, beats {text}", "auc", other, kind="reported")
        for text, other in (
            ("grey x 3", "greyscale"),
            ("a fixed colour map", "jet"),
            ("an affine map", "linear"),
            ("a network from scratch", "scratch"),
            ("its first stage", "stage1"),
            ("gradient histograms", "gradhist"),
        )
    ),
)


# ---------------------------------------------------------------- modules


def normed(*parts: nn.Module) -> list[nn.Module]:
    """A convolution, batch norm, LeakyReLU."""
    return [*parts, nn.BatchNorm2d(parts[-1].out_channels), nn.LeakyReLU(0.01)]


class Residual(nn.Module):
    """x + two convolutions, (B, W, h, w)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        convolutions = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.body = nn.Sequential(*(part for conv in convolutions for part in normed(conv)))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def trunk(width: int, blocks: int, padding: int = 2) -> nn.Sequential:
    """(B, 1, S, S) -> (B, W, S/4, S/4): a 7x7 convolution, max-pooling, residual blocks; 224 -> 111 -> 56."""
    stem = [*normed(nn.Conv2d(1, width, 7, 2, padding)), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *(Residual(width) for _ in range(blocks)))


def deconv(width: int, blocks: int, resize: bool = False) -> nn.Sequential:
    """(B, 1, S, S) -> (B, 3, S, S) by a transposed convolution a channel, or by repeated pixels and a convolution.

    596,611 weights at paper scale. Xavier's initial weights.
    """
    up = [nn.ConvTranspose2d(3, 3, 8, 4, 2, groups=3, bias=False)]
    if resize:
        up = [nn.Upsample(scale_factor=4, mode="nearest"), nn.ReflectionPad2d(1), nn.Conv2d(3, 3, 3)]
    net = nn.Sequential(trunk(width, blocks), nn.Conv2d(width, 3, 1), *up)
    for part in net.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(part.weight)
    return net


def pixelshuffle(width: int, blocks: int) -> nn.Sequential:
    """(B, 1, S, S) -> (B, 3, S, S) by channels laid out as 4 x 4 pixels, which begin as equal ones; then a 2 x 2 mean.

    599,440 weights at paper scale. Source of the first weights: ICNR, arXiv 1707.02937.
    """
    spread = nn.Conv2d(width, 48, 1)
    with torch.no_grad():
        spread.weight.copy_(spread.weight[::16].repeat_interleave(16, 0))
    return nn.Sequential(
        trunk(width, blocks), spread, nn.BatchNorm2d(48), nn.Hardtanh(-1e4, 1e4), nn.PixelShuffle(4),
        nn.ReplicationPad2d((1, 0, 1, 0)), nn.AvgPool2d(2, 1),
    )  # fmt: skip


class Bilinear(nn.Module):
    """(B, 3, h, w) -> (B, 3, 4h, 4w): a transposed convolution, kernel 8, stride 4, with bilinear weights for ever.

    At the border it falls off, as there is nothing beyond.
    """

    def __init__(self) -> None:
        super().__init__()
        line = 1 - (torch.arange(8) - 3.5).abs() / 4
        self.register_buffer("weight", torch.outer(line, line).expand(3, 1, 8, 8).clone())

    def forward(self, small: Tensor) -> Tensor:
        return F.conv_transpose2d(small, self.weight.to(small.dtype), stride=4, padding=2, groups=3)


def de2co(width: int, blocks: int) -> nn.Sequential:
    """(B, 1, S, S) -> (B, 3, S, S) by the ancestor's module: a padding of 3, and no upsampling that learns.

    596,419 weights at paper scale. Inferred: max-pooling and norms, as in `trunk`.
    """
    net = trunk(width, blocks, padding=3)
    return nn.Sequential(net, nn.Conv2d(width, 3, 1), Bilinear())


class ColorU(nn.Module):
    """(B, 1, S, S) -> (B, 3, S, S) by a U of three levels, without a skip of the image; 192,659 weights at W = 16."""

    def __init__(self, width: int) -> None:
        super().__init__()
        w = width
        self.down = nn.ModuleList(self.halved(i, o) for i, o in ((1, w), (w, 2 * w), (2 * w, 4 * w)))
        self.up = nn.ModuleList(self.doubled(i, o) for i, o in ((4 * w, 2 * w), (4 * w, w)))
        out = [nn.ConvTranspose2d(2 * w, w, 4, 2, 1), nn.LeakyReLU(0.01), nn.Conv2d(w, w, 3, padding=1)]
        self.out = nn.Sequential(*out, nn.LeakyReLU(0.01), nn.Conv2d(w, 3, 1))

    @staticmethod
    def halved(inputs: int, outputs: int) -> nn.Sequential:
        first, second = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 4, 2, 1)
        return nn.Sequential(first, nn.LeakyReLU(0.01), second, nn.LeakyReLU(0.01), nn.BatchNorm2d(outputs))

    @staticmethod
    def doubled(inputs: int, outputs: int) -> nn.Sequential:
        parts = [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), nn.LeakyReLU(0.01)]
        for _ in range(2):
            parts += [nn.Conv2d(outputs, outputs, 3, padding=1), nn.LeakyReLU(0.01)]
        return nn.Sequential(*parts, nn.BatchNorm2d(outputs))

    def forward(self, image: Tensor) -> Tensor:
        first = self.down[0](image)
        second = self.down[1](first)
        wide = torch.cat([self.up[0](self.down[2](second)), second], 1)
        return self.out(torch.cat([self.up[1](wide), first], 1))


class Fixed(nn.Module):
    """Three equal channels, or the colours of jet; nothing to learn. An image of three channels stays as it is."""

    def __init__(self, colormap: bool, mean: float, std: float) -> None:
        super().__init__()
        self.colormap, self.mean, self.std = colormap, mean, std

    def forward(self, image: Tensor) -> Tensor:
        if image.shape[1] == 3:
            return image
        if not self.colormap:
            return image.expand(-1, 3, -1, -1)
        return (jet(image * self.std + self.mean) - self.mean) / self.std


def jet(grey: Tensor) -> Tensor:
    """Grey values (B, 1, H, W) in [0, 1] -> RGB (B, 3, H, W): dark blue, cyan, yellow, dark red.

    >>> jet(torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1)).flatten(1)
    tensor([[0.0000, 0.0000, 0.5000],
            [0.5000, 1.0000, 0.5000],
            [0.5000, 0.0000, 0.0000]])
    """
    return torch.cat([(1.5 - (4 * grey - peak).abs()).clamp(0, 1) for peak in (3, 2, 1)], 1)


def colorizer(c: Config) -> nn.Module:
    """The module of that name, (B, channels, S, S) -> (B, 3, S, S).

    Raises:
        InvalidParameter: one that colours grey images, for images that have three channels.
    """
    if c.channels not in (1, 3) or (c.channels == 3 and c.colorizer != "repeat"):
        raise InvalidParameter("colorizer", "repeat for images in colour", c.colorizer, "choose grey images or repeat")
    if c.colorizer == "affine":
        net = nn.Conv2d(1, 3, 1)
        nn.init.ones_(net.weight)  # begins as three equal channels
        nn.init.zeros_(net.bias)
        return net
    if c.colorizer == "coloru":
        return ColorU(c.u_width)
    if c.colorizer == "pixelshuffle":
        return pixelshuffle(c.width, c.blocks)
    if c.colorizer in ("deconv", "resize"):
        return deconv(c.width, c.blocks, c.colorizer == "resize")
    if c.colorizer == "de2co":
        return de2co(c.width, c.blocks)
    return Fixed(c.colorizer == "jet", c.mean, c.std)


# ---------------------------------------------------------------- method


class DeepColor(method.Method):
    """predict: `score` (B, L), the probability of each finding; `color` (B, 3, H, W), what the module made of the
    image, each image scaled to [0, 1] as a whole; `feature` (B, D) of the backbone."""

    Config = Config
    data = "radiograph"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.labels = findings.names(c.labels)
        self.backbone = backbone(c.backbone, 3, base=c.base)  # first: alike in all arms, whatever the module
        self.head = nn.Linear(self.backbone.width, len(self.labels))
        self.colorizer = colorizer(c)
        for name in self.frozen:
            getattr(self, name).requires_grad_(False)

    @property
    def frozen(self) -> list[str]:
        return [name for name, _ in self.named_children() if name not in LEARNING[self.config.freeze]]

    @classmethod
    def before(cls, config: Config) -> Stage | None:
        """The first stage, the other site's module, or the backbone on natural images where no file has it."""
        own = {key: value for key, value in asdict(config).items() if key not in ("channels", "labels")}
        budget = {"epochs": config.first_epochs} if config.first_epochs else {}
        first = own | {"freeze": "backbone", "start": "natural"}
        parts = ("backbone.",) if config.colorizer in FIXED else ("colorizer.", "backbone.")
        name = f"{config.colorizer}_stage1"
        if config.start == "first_stage":
            return Stage((*parts, "head."), first, budget, name=name)
        if config.start == "scratch_stage":
            return Stage((*parts, "head."), own | {"start": "scratch"}, budget, name=f"{name}_scratch")
        if config.start == "other_site":
            return Stage(parts, first, budget, {"site": "a"}, name=name)
        return cls.natural(own) if config.start == "natural" and not config.weights else None

    @staticmethod
    def natural(own: dict[str, Any]) -> Stage:
        """The backbone learns natural images; alike for all arms, numbers of labels and sets of the same image size."""
        kept = ("backbone", "base", "mean", "std", "natural_lr", "natural_epochs", "natural_images")
        settings = {"colorizer": "repeat", "start": "scratch", "lr": own["natural_lr"]} | {
            key: own[key] for key in kept
        }
        budget = {"epochs": own["natural_epochs"], "schedule": "cosine", "best": "", "patience": 0, "valid_every": 4}
        return Stage(("backbone.",), settings, budget, NATURAL | {"train": own["natural_images"]}, name="natural")

    def begin(self) -> None:
        """The backbone's weights from a file, where one is named and no run gives them."""
        if self.config.weights and self.config.start == "natural":
            load_weights(self.backbone, self.config.weights)

    def train(self, mode: bool = True) -> "DeepColor":
        super().train(mode)
        for name in [] if self.config.drift else self.frozen:
            getattr(self, name).eval()
        return self

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        learning = [p for p in self.parameters() if p.requires_grad]
        alone = "colorizer" in self.frozen or c.colorizer in FIXED
        rate = c.lr if "backbone" not in self.frozen else c.head_lr if alone else c.first_lr
        return {"classifier": torch.optim.Adam(learning, rate)} if learning else {}

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B, L), the module's colours (B, 3, S, S), features (B, D) of images (B, C, S, S) in [0, 1]."""
        color = self.colorizer((image - self.config.mean) / self.config.std)
        features = self.backbone(color)
        return self.head(features).float(), color, features

    def updates(self, batch: Batch) -> Iterator[Update]:
        if not any(p.requires_grad for p in self.parameters()):
            return
        logits, _, _ = self(batch["image"])
        yield "classifier", findings.known_bce(logits, batch["label"], batch["known"]), {}

    def predict(self, batch: Batch) -> Batch:
        logits, color, features = self(batch["image"])
        low, high = (one[:, None, None, None] for one in color.float().flatten(1).aminmax(dim=1))
        shown = (color.float() - low) / (high - low).clamp_min(1e-6)
        return {"score": logits.sigmoid(), "color": shown, "feature": features.float()}

    def score(self, batch: Batch, prediction: Batch) -> Batch:
        return findings.scores(batch, prediction["score"], self.labels)

    def pooled(self, scores: Batch) -> Batch:
        return findings.pooled(scores, self.labels)
