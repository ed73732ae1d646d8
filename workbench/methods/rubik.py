"""Rubik's cube recovery: a network for volumes learns from unlabelled ones by restoring a cube that was played with.

A volume is cut into eight cubes, which are shuffled and some of them turned by 180 degrees. One network looks at each
cube; heads that see all eight say which permutation it was and which cubes were turned. To do that it has to know the
anatomy, and with these weights it then learns from few labels to classify or to segment.

Source: Zhuang, Li, Hu, Ma, Yang, Zheng: Self-supervised Feature Learning for 3D Medical Images by Playing a Rubik's
Cube, MICCAI 2019, arXiv 1910.02241; its extension Rubik's Cube+, which also masks cubes, MedIA 2020. No official code
is known. This is a reconstruction from the abstract, a review that reprints tables and figure, and third-party code
(Medical-SSL, for Cube+), from which jitter, heads, poses, masks and the optimiser are. Inferred: the phantom, widths,
K, steps and all that is said to be. No number here reproduces a table of the paper.
Decided: L_R as printed has no term for cubes that were not turned, so r = 1 everywhere would make it 0; here it is the
full binary cross-entropy, summed over horizontal and vertical and averaged over cubes. The orientation accuracy is that
of the 2 x 8 answers, of which saying "not turned" everywhere gets two thirds. In the test the puzzle of a volume is the
same for all arms, and its cubes lie in the middle of their cells. The new head for classes sees the strongest
features of each eighth of the volume side by side, as the heads of the pretext see eight cubes: the mean over all of it
hides a small lesion.
Known faults of other code, not taken over: cubes that start at i instead of i * side, so that all eight are one; a last
permutation that is never drawn; heads outside of the optimiser; mirror images for turns; permutations that differ in
two places only; a volume normalised as a whole, whose bias field tells where a cube was.
Ceiling: a cube of background alone can be turned unnoticed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import method, metrics
from workbench.compare import Claim
from workbench.config import Count, Natural, Positive, Weight
from workbench.errors import InvalidParameter
from workbench.losses.overlap import dice_loss
from workbench.method import Batch, Stage, Update
from workbench.models import classifier, cubes
from workbench.models.backbones import load_weights
from workbench.models.cubes import CUBES, Puzzle, Rules, Select
from workbench.models.vgg3d import VGG3D, DUCDecoder, UNetDecoder, checked_depth

Play = Literal["rubik", "order", "rotation", "volume"]


@dataclass(frozen=True)
class Config(method.Config):
    grid: str = "32x32x32"  # sides of a volume, voxels, from the data
    channels: Count = 1  # of a volume, from the data
    classes: str = ""  # names of the classes, from the data
    structures: str = ""  # names of the label values 1, 2, ..., from the data
    task: Literal["classification", "segmentation"] = "classification"  # what is to be told, from the data
    stage: Literal["target", "pretext"] = "target"  # what is trained: the task, or the encoder by playing
    start: Literal["pretext", "scratch", "weights"] = "pretext"  # where the encoder's weights come from
    weights: str = ""  # file or hub id of the encoder's weights for start=weights, such as those learned from videos
    play: Play = "rubik"  # order and rotation, one of them, or the rotation of the whole volume
    masking: bool = False  # mask cubes too, with a third head (Rubik's Cube+)
    permutations: Count = 24  # K, to tell apart (card: tiny preset); 100 in third-party code
    select: Select = "max_min"  # how they are chosen: by their least or mean distance, or at random (paper: largest)
    permutation_seed: Natural = 0  # of that choice
    gap: Natural = 2  # voxels between neighbouring cubes (card: tiny preset); about 10 in the paper
    jitter: Natural = 1  # voxels that a cube in training lies off the middle of its cell (third-party code)
    alpha: Weight = 0.5  # of L_P, the order (paper)
    beta: Weight = 0.5  # of L_R, the rotations (paper)
    gamma: Weight = 1.0  # of L_M, the masks, where alpha and beta are 1 too (third-party code)
    base: Count = 8  # channels of the encoder's first level (card: tiny preset); paper scale inferred
    depth: Count = 3  # levels of the encoder (card: tiny preset)
    convs: Count = 1  # convolutions of a level (inferred)
    cube_width: Count = 32  # of a cube's own layer (card: tiny preset); 64 in third-party code
    head_width: Count = 128  # of the heads' hidden layers (card: tiny preset); 1024 in third-party code
    order_layers: Count = 1  # hidden layers of the order head (card: tiny preset); 2 in third-party code
    rotation_layers: Count = 1  # hidden layers of the rotation and mask heads; with 2 training collapses (card)
    decoder: Literal["unet", "duc"] = "unet"  # of segmentation (paper: both)
    lr: Positive = 3e-3  # Adam's rate for the task (tuned for all arms)
    pretext_lr: Positive = 3e-3  # Adam's rate of the pretext (tuned); 1e-3 in third-party code
    pretext_epochs: Count = 30  # of the pretext: 600 steps (card: 10, at which no rotation is told)
    pretext_schedule: Literal["constant", "quarter"] = "constant"  # quarter: rate by ten less from there (third party)
    pretext_patience: Natural = 0  # epochs without more right answers that end it; 0 is never; 40 in third-party code

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start == "weights" and not self.weights:
            remedy = "give weights=FILE, or another start"
            raise InvalidParameter("weights", "a file of the encoder's weights for start=weights", "none", remedy)

    @property
    def sides(self) -> tuple[int, ...]:
        return tuple(int(side) for side in self.grid.split("x"))

    @property
    def rules(self) -> Rules:
        return Rules(self.gap, self.jitter, self.play != "rotation", self.play != "order", self.masking)


TINY = {"train": 160, "labelled": 32, "valid": 48, "test": 200, "epochs": 25, "batch": 8}
DEMO = TINY | {"train": 300}
PAPER = {
    "grid": "272x272x80", "gap": 8, "jitter": 4, "permutations": 100, "base": 32, "depth": 5, "cube_width": 64,
    "head_width": 1024, "order_layers": 2, "lr": 1e-3, "pretext_lr": 1e-3, "pretext_epochs": 1000,
    "pretext_schedule": "quarter", "pretext_patience": 40, "epochs": 100, "batch": 8, "train": 200, "valid": 28,
    "test": 57,
}  # fmt: skip
UNLABELLED = {"part": "unlabelled", "labelled": 0, "target": "auto"}
PRETEXT = {"stage": "pretext", "epochs": Config.pretext_epochs} | UNLABELLED
KEPT = (  # settings of the pretext
    "play", "masking", "permutations", "select", "permutation_seed", "gap", "jitter", "alpha", "beta", "gamma", "base",
    "depth", "convs", "cube_width", "head_width", "order_layers", "rotation_layers", "pretext_lr", "pretext_epochs",
    "pretext_schedule", "pretext_patience",
)  # fmt: skip
PLAYS = {
    "order_only": {"play": "order"},
    "rotation_only": {"play": "rotation"},
    "volume_rotation": {"play": "volume"},
    "rubik_plus": {"masking": True, "alpha": 1.0, "beta": 1.0},
    "gap0": {"gap": 0, "jitter": 0},
    "deep_rotation": {"rotation_layers": 2},
    "max_mean": {"select": "max_mean"},
    "random_permutations": {"select": "random"},
}
SEGMENT = {"target": "structures", "lr": 1e-2, "epochs": 50}  # at 3e-3 and 100 steps a structure is never told
ABLATIONS = {
    "scratch": {"start": "scratch"},
    **PLAYS,
    "pretext": PRETEXT,
    **{f"{name}_pretext": PRETEXT | change for name, change in PLAYS.items() if name != "volume_rotation"},
    **{
        f"segment_{decoder}{name}": SEGMENT | {"decoder": decoder} | change
        for decoder in ("unet", "duc")
        for name, change in (("", {}), ("_scratch", {"start": "scratch"}), ("_order_only", {"play": "order"}))
    },
}
RIVALS = ()
FLOORS = ("majority",)
TABLE = tuple(("average", name) for name in ("accuracy", "balanced_accuracy", "dice", "order", "orientation"))
CLAIMS = (
    Claim("the pretext tells the order far more often than chance", "order", "majority", margin=0.25, arm="pretext"),
    Claim(
        'the pretext tells the orientation more often than "not turned"', "orientation", "majority", arm="pretext"
    ),
    Claim("higher accuracy than from scratch", "accuracy", "scratch"),
    *(
        Claim(f"higher accuracy than {text}", "accuracy", other, kind="reported")
        for text, other in (
            ("ordering alone", "order_only"),
            ("rotation alone", "rotation_only"),
            ("predicting the rotation of the whole volume", "volume_rotation"),
            ("without a gap", "gap0"),
            ("the most frequent class", "majority"),
        )
    ),
    Claim("masking gains on it", "accuracy", "rubik", arm="rubik_plus", kind="reported"),
    *(
        Claim(f"{name}: higher Dice than {text}", "dice", f"{arm}_{other}", arm=arm, kind="reported")
        for name, arm in (("U-Net", "segment_unet"), ("DUC", "segment_duc"))
        for text, other in (("from scratch", "scratch"), ("ordering alone", "order_only"))
    ),
    Claim("a shallow rotation head learns what a deep one does not", "orientation", "deep_rotation_pretext",
          arm="pretext", kind="reported"),
)  # fmt: skip


# ---------------------------------------------------------------- heads and losses


def dense(inputs: int, width: int, layers: int, outputs: int) -> nn.Sequential:
    """`layers` hidden layers with ReLU, and a linear one."""
    sizes = [inputs] + [width] * layers
    hidden = [part for wide, out in pairwise(sizes) for part in (nn.Linear(wide, out), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(sizes[-1], outputs))


class Heads(nn.Module):
    """Features of cubes (B, 8, W) -> logits by name: `order` (B, K), `turn` (B, 2, 8), `mask` (B, 8).

    Every cube has the same layer, ReLU and batch norm; all eight side by side go into each head.
    """

    def __init__(self, width: int, c: Config) -> None:
        super().__init__()
        self.cube = nn.Sequential(nn.Linear(width, c.cube_width), nn.ReLU(), nn.BatchNorm1d(c.cube_width))
        inputs, kinds = CUBES * c.cube_width, {}
        if c.rules.shuffle:
            kinds["order"] = dense(inputs, c.head_width, c.order_layers, c.permutations)
        turns = ("horizontal", "vertical") if c.rules.turn else ()
        for name in (*turns, *(["mask"] if c.masking else [])):
            kinds[name] = dense(inputs, c.head_width, c.rotation_layers, CUBES)
        self.kinds = nn.ModuleDict(kinds)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        joint = self.cube(features.flatten(0, 1)).view(len(features), -1)
        found = {name: head(joint).float() for name, head in self.kinds.items()}
        if "horizontal" in found:
            found["turn"] = torch.stack([found.pop("horizontal"), found.pop("vertical")], 1)
        return found


def order_loss(logits: Tensor, order: Tensor) -> Tensor:
    """L_P, the cross-entropy of permutation logits (B, K), a scalar."""
    return F.cross_entropy(logits, order)


def rotation_loss(logits: Tensor, turn: Tensor) -> Tensor:
    """L_R, the full binary cross-entropy of (B, 2, 8), summed over horizontal and vertical, the mean over cubes.

    As printed it lacks the term of what was not turned, and saying that everything was would cost nothing.

    >>> rotation_loss(torch.full((1, 2, 8), 30.0), torch.zeros(1, 2, 8))
    tensor(60.)
    """
    return F.binary_cross_entropy_with_logits(logits, turn, reduction="none").sum(1).mean()


def mask_loss(logits: Tensor, masked: Tensor) -> Tensor:
    """L_M of Rubik's Cube+, the binary cross-entropy of (B, 8), the mean over cubes."""
    return F.binary_cross_entropy_with_logits(logits, masked)


def poses(sides: tuple[int, ...]) -> list[tuple[int, tuple[int, int]]]:
    """Quarter turns of a whole volume: none, and 1 to 3 about each axis; half turns alone where the sides differ.

    Source of the ten: Taleb et al., arXiv 2006.03829 (inferred from its description).
    """
    quarters = (1, 2, 3) if len(set(sides)) == 1 else (2,)
    return [(0, (0, 1)), *((count, plane) for plane in ((1, 2), (0, 2), (0, 1)) for count in quarters)]


def segmentation_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy and 1 - Dice of the structures (inferred), of logits (B, 1 + K, *S) and labels (B, 1, *S)."""
    wanted = label[:, 0].long()
    one_hot = F.one_hot(wanted, logits.shape[1]).movedim(-1, 1).float()
    overlap = dice_loss(logits.softmax(1)[:, 1:].flatten(0, 1), one_hot[:, 1:].flatten(0, 1))
    return F.cross_entropy(logits, wanted) + overlap


# ---------------------------------------------------------------- method


class Rubik(method.Method):
    """predict, by task: `logits` (B, K) of the classes and `feature` (B, 8 W); or `mask` (B, 1, *S) of 0 to K.

    Of the pretext: `logits` (B, K) of the permutations or poses, `score` (B, R, 8), the probabilities that a cube was
    turned horizontally, vertically, and masked, as far as these are played.
    """

    Config = Config
    data = "headct"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.encoder = VGG3D(c.channels, c.base, c.depth, c.convs)  # first: alike in all arms
        checked_depth(cubes.sides_of(c.sides, c.gap, c.jitter), c.depth)
        if c.stage == "pretext" and c.play == "volume":
            self.heads = dense(self.encoder.width, c.head_width, c.order_layers, len(poses(c.sides)))
        elif c.stage == "pretext":
            self.heads = Heads(self.encoder.width, c)
            self.register_buffer("permutations", cubes.permutation_set(c.permutations, c.permutation_seed, c.select))
        elif c.task == "classification":
            self.head = nn.Linear(CUBES * self.encoder.width, len(c.classes.split(",")))
        else:
            kind = {"unet": UNetDecoder, "duc": DUCDecoder}[c.decoder]
            self.decoder = kind(self.encoder.widths, 1 + len(c.structures.split(",")))

    @classmethod
    def before(cls, config: Config) -> Stage | None:
        """The pretext, with all of its settings and none of the task's: arms with the same one share it."""
        if config.stage == "pretext" or config.start != "pretext":
            return None
        settings = {key: getattr(config, key) for key in KEPT} | {"stage": "pretext"}
        budget = {"epochs": config.pretext_epochs, "schedule": config.pretext_schedule}
        if config.pretext_patience:
            budget |= {"best": "right", "patience": config.pretext_patience, "valid_every": 1}
        return Stage(("encoder.",), settings, budget, UNLABELLED)

    def begin(self) -> None:
        """The encoder's weights from a file, where that is asked for."""
        if self.config.start == "weights" and self.config.stage == "target":
            load_weights(self.encoder, self.config.weights)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        rate = self.config.pretext_lr if self.config.stage == "pretext" else self.config.lr
        return {"network": torch.optim.Adam(self.parameters(), rate)}

    # ---- the pretext

    def played(self, batch: Batch) -> Puzzle:
        """The puzzles of a batch: another one each time in training, else the one that belongs to the case."""
        c, volume = self.config, batch["image"]
        count = c.rules.draws(c.sides)
        draw = self.rand(len(volume), count) if self.training else cubes.drawn(batch["number"], count)
        return cubes.puzzle(volume, self.permutations, draw, c.rules, moved=self.training)

    def guessed(self, puzzle: Puzzle) -> dict[str, Tensor]:
        """The heads' logits; one encoder looks at every cube."""
        features = self.encoder.pooled(puzzle.cubes.flatten(0, 1))
        return self.heads(features.view(*puzzle.cubes.shape[:2], -1))

    def play_losses(self, batch: Batch) -> dict[str, Tensor]:
        c, puzzle = self.config, self.played(batch)
        found = self.guessed(puzzle)
        terms = {
            "order": lambda: c.alpha * order_loss(found["order"], puzzle.order),
            "turn": lambda: c.beta * rotation_loss(found["turn"], puzzle.turn),
            "mask": lambda: c.gamma * mask_loss(found["mask"], puzzle.masked),
        }
        return {name: term() for name, term in terms.items() if name in found}

    def posed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Whole volumes, each in one of the poses, and the poses' numbers (B,)."""
        known, volume = poses(self.config.sides), cubes.normalised(batch["image"])
        draw = self.rand(len(volume), 1) if self.training else cubes.drawn(batch["number"], 1)
        pose = (draw[:, 0] * len(known)).long()
        turned = [torch.rot90(one, known[n][0], [axis + 1 for axis in known[n][1]]) for one, n in zip(volume, pose)]
        return torch.stack(turned), pose

    def pose_logits(self, volume: Tensor) -> Tensor:
        return self.heads(self.encoder.pooled(volume)).float()

    # ---- the contract

    def told(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the task, and the strongest last features of each eighth, of volumes (B, C, X, Y, Z) in [0, 1]."""
        features = self.encoder(cubes.normalised(volume))
        cells = F.adaptive_max_pool3d(features[-1], 2).flatten(1)
        logits = self.head(cells) if self.config.task == "classification" else self.decoder(features)
        return logits.float(), cells.float()

    def updates(self, batch: Batch) -> Iterator[Update]:
        c = self.config
        if c.stage == "pretext" and c.play != "volume":
            terms = self.play_losses(batch)
            yield "network", sum(terms.values()), {name: term.detach() for name, term in terms.items()}
        elif c.stage == "pretext":
            volume, pose = self.posed(batch)
            yield "network", F.cross_entropy(self.pose_logits(volume), pose), {}
        else:
            logits, _ = self.told(batch["image"])
            loss = F.cross_entropy(logits, batch["class"]) if c.task == "classification" else None
            yield "network", segmentation_loss(logits, batch["label"]) if loss is None else loss, {}

    def predict(self, batch: Batch) -> Batch:
        c = self.config
        if c.stage == "pretext" and c.play == "volume":
            return {"logits": self.pose_logits(self.posed(batch)[0])}
        if c.stage == "pretext":
            found = self.guessed(self.played(batch))
            rows = [found[name].unflatten(-1, (1, CUBES)).flatten(1, -2) for name in ("turn", "mask") if name in found]
            given = {"logits": found["order"]} if "order" in found else {}
            return given | ({"score": torch.cat(rows, 1).sigmoid()} if rows else {})
        logits, feature = self.told(batch["image"])
        if c.task == "classification":
            return {"logits": logits, "feature": feature}
        return {"mask": logits.argmax(1, keepdim=True).float()}

    def score(self, batch: Batch, prediction: Batch) -> Batch:
        c = self.config
        if c.stage == "target" and c.task == "classification":
            return classifier.scores(batch, prediction)
        if c.stage == "target":
            return metrics.segmentation(batch, prediction, metrics.classes(c.structures))
        if c.play == "volume":
            told = (prediction["logits"].argmax(1) == self.posed(batch)[1]).float()
            return {"pose": told, "right": told}
        found = puzzle_scores(self.played(batch), prediction, c.rules)
        return found | {"right": torch.stack(list(found.values())).mean(0)}

    def pooled(self, scores: Batch) -> Batch:
        return classifier.pooled(scores) if "called" in scores else {}


def puzzle_scores(puzzle: Puzzle, prediction: Batch, rules: Rules) -> Batch:
    """Shares of right answers (B,): `order`, `orientation` of 2 x 8 answers, `masking` of 8; those that are played."""
    scores = {}
    if rules.shuffle:
        scores["order"] = (prediction["logits"].argmax(1) == puzzle.order).float()
    if rules.turn:
        scores["orientation"] = ((prediction["score"][:, :2] > 0.5) == (puzzle.turn > 0.5)).float().mean((1, 2))
    if rules.mask:
        scores["masking"] = ((prediction["score"][:, -1] > 0.5) == (puzzle.masked > 0.5)).float().mean(1)
    return scores
