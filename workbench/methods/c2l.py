"""C2L: a network learns from radiographs without labels by telling mixed images and mixed features apart.

Labels of radiographs are dear, the images are not. A student network is to give two variations of an image like
embeddings, and unlike ones to all others: what a slowly following teacher says of the second is the right answer among
a queue of its former answers. C2L adds two comparisons: of two mixed images, and of a mixed image with the mixture of
the teacher's features. What the student has learnt is then the start of a classifier, and shows where labels are few.

Source: Zhou et al., Comparing to Learn, MICCAI 2020, arXiv 2007.07423, with the official code. A re-implementation
from facts: high fidelity for the method, low for the result tables, which were not at hand; no number here reproduces
one. The 120 epochs are the code's; its author also names 150. The published command contrasts by NCE, not by InfoNCE.
Inferred: all of fine-tuning, which was not released (Adam, its rates, which fall as a cosine, not on plateaus), and the
tiny setting: a short network, InfoNCE, mild crops, jitter and holes. With crops of half the area and jitter 0.4, or
with NCE at any rate tried, queries do not find their keys in its 320 steps. The rate was chosen without labels, at
which more validation queries find their own key, the same for MoCo. MoCo is the first comparison alone, with twice the
steps: it needs half a step's student passes. ImageNet's weights come from a file of your own; a PROXY stands in for
them in the claims: the labels of coloured images of materials. Pre-training never sees images of validation and test.
Found at the tiny size: it gains over random weights, and over a control with the keys of other images (`wrong_keys`),
which gains half as much. MoCo gains more, or as much in as many steps; mixing, enqueuing and ShuffleBN do not show.
Known faults of the released code. Scoring also enqueues, so keys of a batch are negatives of their own mixtures:
`enqueue="release"` is that, `clean` scores all three and enqueues the plain keys alone. Its queue's place is lost on
resuming and the constant Z is cut to a whole number: both are buffers here, a whole number and a float32. `eps` is
undefined there: 1e-7 as in CMC, the code it was built on. It adds N eps to the loss, all that N (`images`) matters for.
Decided: batch norm takes `groups` parts of a batch each by itself, as GPUs do; in one part ShuffleBN has no effect.
"""

import copy
import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.optim.swa_utils import get_ema_multi_avg_fn

from workbench import method
from workbench.compare import Claim
from workbench.config import Count, Fraction, Natural, Positive, Weight
from workbench.errors import InvalidParameter
from workbench.method import Batch, Stage, Stream, Update, seed_of
from workbench.models import findings
from workbench.models.augment import Recipe, augment, normalized
from workbench.models.backbones import Backbone, backbone, load_weights

Pairs = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Encoder(method.Config):
    """The network that all stages share."""

    backbone: Backbone = "residual"  # network without its last layer; paper scale resnet18 or densenet121 (code)
    base: Count = 8  # first width of a small backbone (card: tiny preset)


@dataclass(frozen=True)
class Pretraining(Encoder):
    """What pre-training depends on: arms with equal values here share it."""

    dim: Count = 32  # components of an embedding (card: tiny preset); paper scale 128 (code)
    queue: Count = 256  # K, keys that are remembered (card: tiny preset); paper scale 16384 (code)
    temperature: Positive = 0.1  # T, cosines are divided by it (card: 0.1 to 0.2); paper scale 0.07 (code)
    inertia: Fraction = 0.99  # m, what the teacher keeps of itself at a step (card: tiny); paper scale 0.999 (code)
    terms: Literal["all", "moco", "images", "features"] = "all"  # of the loss: 1+2+3, 1, 1+2, 1+3
    contrast: Literal["nce", "infonce"] = "infonce"  # NCE with a frozen Z (paper scale: code), or cross entropy
    eps: Weight = 1e-7  # in NCE's logarithms (CMC, upstream of the code; undefined there)
    enqueue: Literal["release", "clean"] = "release"  # each term's keys once it is scored, or k alone after all
    wrong_keys: bool = False  # a control: the right answer to a query is the key of another image (inferred)
    shuffle: bool = True  # the teacher's batch is permuted before its groups are cut (code)
    groups: Count = 2  # parts of a batch that batch norm takes each by itself; paper scale 4 (code: GPUs)
    crop: Fraction = 0.8  # least part of the area that is cropped (card: 0.5 or more); paper scale 0.2 (code)
    jitter: Fraction = 0.1  # largest change of brightness, contrast, saturation, hue (tuned); paper 0.4 (code)
    holes: Natural = 1  # squares that are cut out (card: tiny); paper scale 3 (code)
    hole: Natural = 8  # their side, pixels (card: tiny); paper scale 32 (code)
    pre_lr: Positive = 0.015  # SGD's, by ten less after 1/2, 2/3 and 5/6 of all steps (tuned); paper 0.03 (code)
    pre_momentum: Fraction = 0.9  # SGD's (code)
    pre_decay: Weight = 1e-4  # SGD's weight decay (code)
    pre_epochs: Count = 40  # MoCo, with half the student passes, has twice as many (card: 6); paper 120 (code)
    pre_batch: Count = 64  # images a step (card: 32); paper scale 128 (code)


@dataclass(frozen=True)
class Config(Pretraining):
    phase: Literal["finetune", "probe", "pretrain"] = "finetune"  # probe: only the last layer learns
    start: Literal["pretrained", "proxy", "random", "file"] = "pretrained"  # where the encoder's weights come from
    weights: str = ""  # file or hub id of the encoder's weights, for start=file
    lr: Positive = 3e-3  # Adam's rate of fine-tuning (tuned: best for random weights, too); paper scale 1e-4 (inferred)
    probe_lr: Positive = 1e-2  # Adam's rate of the last layer alone (inferred)
    proxy_lr: Positive = 2e-3  # Adam's rate on the PROXY's coloured images, falling as a cosine (inferred)
    proxy_epochs: Count = 8  # on the proxy's images (inferred)
    proxy_images: Count = 2000  # of the proxy (inferred)
    labels: str = "finding"  # names of the findings, from the data
    images: Count = 512  # N, training images, from the data: in pre-training the length of its list


TINY = {
    "train": 512, "labelled": 60, "valid": 100, "test": 200, "epochs": 40, "batch": 20, "schedule": "cosine",
    "valid_every": 10,
}  # fmt: skip
DEMO = TINY
PAPER = {
    "size": 224, "backbone": "resnet18", "dim": 128, "queue": 16384, "temperature": 0.07, "inertia": 0.999, "groups": 4,
    "contrast": "nce", "crop": 0.2, "jitter": 0.4, "holes": 3, "hole": 32, "pre_lr": 0.03, "pre_epochs": 120,
    "pre_batch": 128, "lr": 1e-4, "probe_lr": 1e-3, "proxy_lr": 1e-3, "proxy_images": 20000, "epochs": 50, "batch": 64,
    "schedule": "cosine", "official": True, "train": 75708, "valid": 10816, "test": 25596, "labelled": 757,
}  # fmt: skip
NATURAL = {"source": "natural", "root": "", "labels": "", "site": "a", "part": "labelled", "labelled": 0}
STARTS = {"random": {"start": "random"}, "moco": {"terms": "moco"}, "proxy": {"start": "proxy"}}
VARIANTS = {
    "images": {"terms": "images"},
    "features": {"terms": "features"},
    "nce": {"contrast": "nce", "pre_lr": 3e-3},  # its own rate: it pulls some 50 times more
    "clean": {"enqueue": "clean"},
    "no_shuffle": {"shuffle": False},
    "wrong_keys": {"wrong_keys": True},
    "moco_steps": {"terms": "moco", "pre_epochs": Pretraining.pre_epochs // 2},  # as many steps, half the passes
}
PROBE, MANY = {"phase": "probe"}, {"labelled": 300, "epochs": 20}
ABLATIONS = {
    **STARTS,
    **VARIANTS,
    "probe": PROBE,
    **{f"{name}_probe": change | PROBE for name, change in (STARTS | VARIANTS).items()},
    "c2l_300": MANY,
    "probe_300": PROBE | MANY,
    **{f"{name}_300": change | MANY for name, change in STARTS.items()},
    **{f"{name}_probe_300": change | PROBE | MANY for name, change in STARTS.items()},
}
RIVALS = ()
FLOORS = ("gradhist",)
TABLE = tuple(("average", name) for name in ("auc", "accuracy"))
WORDS = {
    "random": "random weights", "moco": "MoCo with twice the steps", "proxy": "the supervised proxy",
    "images": "terms 1 and 2", "features": "terms 1 and 3", "nce": "NCE", "clean": "the clean queue",
    "no_shuffle": "no ShuffleBN", "wrong_keys": "keys of other images", "moco_steps": "MoCo with as many steps",
}  # fmt: skip
CLAIMS = (
    Claim("60 labels, fine-tuned: beats random weights", "auc", "random"),
    *(Claim(f"60 labels, fine-tuned: beats {WORDS[name]}", "auc", name, kind="reported") for name in [*WORDS][1:]),
    *(Claim(f"60 labels, probe: beats {text}", "auc", f"{name}_probe", 0, "reported", "probe")
      for name, text in WORDS.items()),
    *(Claim(f"300 labels, fine-tuned: beats {WORDS[name]}", "auc", f"{name}_300", 0, "reported", "c2l_300")
      for name in STARTS),
    *(Claim(f"300 labels, probe: beats {WORDS[name]}", "auc", f"{name}_probe_300", 0, "reported", "probe_300")
      for name in STARTS),
    Claim("60 labels, fine-tuned: beats gradient histograms", "auc", "gradhist", kind="reported"),
    Claim("60 labels, probe: beats gradient histograms", "auc", "gradhist", kind="reported", arm="probe"),
)  # fmt: skip


# ---------------------------------------------------------------- parts and losses


def mixed(items: Tensor, share: Tensor, partner: Tensor) -> Tensor:
    """Each item (B, ...) mixed with its partner (B,) from the batch: share of itself, 1 - share of the other.

    >>> mixed(torch.tensor([0.0, 8.0]), torch.tensor(0.75), torch.tensor([1, 0]))
    tensor([2., 6.])
    """
    return items[partner].lerp_(items, share)


def nce(positive: Tensor, negative: Tensor, z: Tensor, images: int, eps: float) -> Tensor:
    """Noise-contrastive estimation of similarities over T, (B,) and (B, K), a scalar; `z` as `partition` has it.

    With P = exp(s) / z, Pn = 1 / images and c = K Pn + eps it is -log P0 / (P0 + c) - sum log K Pn / (P + c): a binary
    cross entropy of s - log(z c), and K log(c / (K Pn)), which is about images times eps.
    """
    noise = negative.shape[1] / images
    offset = (z * (noise + eps)).log()
    constant = negative.shape[1] * torch.log1p(torch.full_like(offset, eps / noise))
    return (F.softplus(offset - positive) + F.softplus(negative - offset).sum(1)).mean() + constant


def infonce(positive: Tensor, negative: Tensor) -> Tensor:
    """Cross entropy of the positive (B,) among itself and the negatives (B, K), a scalar."""
    return F.softplus(negative.logsumexp(1) - positive).mean()


def partition(positive: Tensor, negative: Tensor, images: int) -> Tensor:
    """Z: `images` times the mean of exp(s) over positives (B,) and negatives (B, K)."""
    return images * torch.cat([positive[:, None], negative], 1).exp().mean()


def everywhere(keys: Tensor) -> Tensor:
    """The keys (B, D) of all processes, one after the other, so that all have the same queue."""
    if not distributed.is_initialized():
        return keys
    parts = [torch.empty_like(keys) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, keys.contiguous())
    return torch.cat(parts)


@functools.cache
def recipe(config: Pretraining, size: int) -> Recipe:
    """How images of this size are varied."""
    names = ("brightness", "contrast", "saturation", "hue")
    change = dict.fromkeys(names, config.jitter) | {"crop": config.crop, "holes": config.holes, "hole": config.hole}
    return Recipe(size=size, **change)


def settings(config: Config, group: type) -> dict:
    """The settings that a group of them has."""
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(group)}


# ---------------------------------------------------------------- method


class C2L(method.Method):
    """predict: `score` (B, L), the probability of each finding, and `feature` (B, D) of the encoder; in pre-training
    the features alone, with scores `same`, the cosine of an image's embedding and its mirror image's, and `other`, the
    mean cosine with the queue."""

    Config = Config
    data = "radiograph"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c, self.labels = config, findings.names(config.labels)
        self.encoder = backbone(c.backbone, 3, base=c.base)
        if c.phase != "pretrain":
            scale = nn.BatchNorm1d(self.encoder.width, affine=False, momentum=None) if c.phase == "probe" else None
            self.head = nn.Sequential(scale or nn.Identity(), nn.Linear(self.encoder.width, len(self.labels)))
            self.encoder.requires_grad_(c.phase == "finetune")
            return
        self.embedding = nn.Linear(self.encoder.width, c.dim)
        self.teacher = nn.Sequential(*map(copy.deepcopy, (self.encoder, self.embedding))).requires_grad_(False)
        bound = (c.dim / 3) ** -0.5
        self.register_buffer("queue", torch.empty(c.queue, c.dim).uniform_(-bound, bound))
        self.register_buffer("pointer", torch.tensor(0))  # where the next key goes; int64
        self.register_buffer("z", torch.tensor(0.0))  # 0 until the first batch
        self.scaled = False  # whether Z is known to be fixed
        self.follow = get_ema_multi_avg_fn(c.inertia)

    @classmethod
    def before(cls, config: Config) -> Stage | None:
        """Pre-training on the images without labels, or the proxy."""
        c = config
        if c.phase == "pretrain":
            return None
        if c.start == "pretrained":
            change = {"epochs": c.pre_epochs * (2 if c.terms == "moco" else 1), "batch": c.pre_batch}
            chosen = settings(c, Pretraining) | {"phase": "pretrain"}
            images = {"part": "unlabelled", "labelled": 0}
            return Stage(("encoder.",), chosen, change | {"schedule": "steps"}, images)
        if c.start == "proxy":
            chosen = settings(c, Encoder) | {"start": "random", "lr": c.proxy_lr}
            change = {"epochs": c.proxy_epochs, "batch": c.pre_batch, "schedule": "cosine"}
            return Stage(("encoder.",), chosen, change, NATURAL | {"train": c.proxy_images})
        return None

    def begin(self) -> None:
        """The encoder's weights from a file, where they are asked for."""
        if self.config.start == "file" and self.config.phase != "pretrain":
            load_weights(self.encoder, self.config.weights)

    def train(self, mode: bool = True) -> "C2L":
        """The probe's encoder is never in training mode, and of the teacher only its batch norms are."""
        super().train(mode)
        if self.config.phase == "probe":
            self.encoder.eval()
        for part in self.teacher.modules() if self.config.phase == "pretrain" else ():
            if not isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.training = False
        return self

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c, learning = self.config, [p for p in self.parameters() if p.requires_grad]
        if c.phase != "pretrain":
            return {"classifier": torch.optim.Adam(learning, c.lr if c.phase == "finetune" else c.probe_lr)}
        sgd = torch.optim.SGD(learning, c.pre_lr, c.pre_momentum, weight_decay=c.pre_decay)
        # once a step, however many parts a batch is worked through in
        sgd.register_step_post_hook(lambda *_: self.follow(list(self.teacher.parameters()), learning, None))
        return {"student": sgd}

    def updates(self, batch: Batch) -> Iterator[Update]:
        if self.config.phase == "pretrain":
            pairs = self.pairs(batch["image"])
            with torch.autocast(self.device.type, enabled=False):
                loss, keys, logs = self.contrasted(pairs)
            yield "student", loss, logs
            self.write(keys)
        else:
            logits = self.head(self.encoder(self.normalized(batch["image"]))).float()
            yield "classifier", findings.known_bce(logits, batch["label"], batch["known"]), {}

    # ------------------------------------------------------------ pre-training

    def varied(self, image: Tensor) -> Tensor:
        """Images (B, C, S, S) in [0, 1] varied at random and normalised, (B, 3, S, S)."""
        how = recipe(self.config, image.shape[3])
        return augment(image, self.rand(len(image), how.draws), how)

    def pairs(self, image: Tensor) -> Pairs:
        """Queries and keys (B, dim), not normalised, of each term: of two views, of mixed views, of mixed features.

        One share and one choice of partners are for both views and the features; the teacher's order is for all keys.
        """
        c = self.config
        first, second = self.varied(image), self.varied(image)
        partner, order = self.rand(len(image)).argsort(), self.rand(len(image)).argsort()
        share, order = self.share(), order if c.shuffle else order.sort().values
        query, key = self.student(first), self.keys(second, order)
        if c.terms == "moco":
            return [(query, key)]
        blend, pairs = self.student(mixed(first, share, partner)), [(query, key)]
        if c.terms != "features":
            pairs.append((blend, self.keys(mixed(second, share, partner), order)))
        if c.terms != "images":
            pairs.append((blend, mixed(key, share, partner)))
        return pairs

    def share(self) -> Tensor:
        """max(l, 1 - l) of l from Beta(1, 1), a scalar: one for the whole batch, in whatever parts it is worked."""
        drawn = Stream(seed_of(self.stream.seed, "share")).rand(1, device=self.device)[0]
        return torch.maximum(drawn, 1 - drawn)

    def student(self, image: Tensor) -> Tensor:
        """Embeddings (B, dim) of normalised images, batch norm by groups."""
        return torch.cat([self.embedding(self.encoder(part)) for part in image.chunk(self.config.groups)])

    @torch.no_grad()
    def keys(self, image: Tensor, order: Tensor) -> Tensor:
        """The teacher's embeddings (B, dim); the batch is in another order (B,) while it is cut into groups."""
        found = torch.cat([self.teacher(part) for part in image[order].chunk(self.config.groups)])
        return torch.empty_like(found).index_copy_(0, order, found)

    def contrasted(self, pairs: Pairs) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The mean of the terms, the keys (n, dim) to enqueue, and logs.

        The queue is written after the step. Where the release has written keys by then, a term sees them in the place
        of those that they replace.
        """
        c, losses, written, logs = self.config, [], [], {}
        for query, key in pairs:
            query, key = F.normalize(query.float(), dim=1), F.normalize(key.float(), dim=1)
            negative = query @ self.queue.T
            if written and c.enqueue == "release":
                new = torch.cat(written)
                negative = negative.index_copy(1, self.slots(len(new)), query @ new.T)
            positive = (query * (key.roll(1, 0) if c.wrong_keys else key)).sum(1)
            if not logs:
                logs = {"positive": positive.detach().mean(), "negative": negative.detach().mean()}
            losses.append(self.loss(positive / c.temperature, negative / c.temperature))
            written.append(everywhere(key))
        terms = {f"term{number}": loss.detach() for number, loss in enumerate(losses, 1)}
        keys = torch.cat(written) if c.enqueue == "release" else written[0]
        return sum(losses) / len(losses), keys, logs | terms

    def loss(self, positive: Tensor, negative: Tensor) -> Tensor:
        """One term, of similarities over T; the very first one of a training fixes Z."""
        c = self.config
        if c.contrast == "infonce":
            return infonce(positive, negative)
        if not self.scaled and self.z == 0:
            self.z.copy_(everywhere(partition(positive, negative, c.images).detach()[None]).mean())
        self.scaled = True  # asked once: on a GPU each question waits for all that was begun
        return nce(positive, negative, self.z, c.images, c.eps)

    def slots(self, count: int) -> Tensor:
        """The places of the queue that the next keys go to.

        Raises:
            InvalidParameter: more keys than the queue has places.
        """
        if count > len(self.queue):
            remedy = "choose a longer queue or a smaller pre_batch"
            raise InvalidParameter("queue", f"room for the {count} keys of a step", str(len(self.queue)), remedy)
        return (self.pointer + torch.arange(count, device=self.queue.device)) % len(self.queue)

    @torch.no_grad()
    def write(self, keys: Tensor) -> None:
        """Keys (n, dim) in place of the oldest."""
        self.queue.index_copy_(0, self.slots(len(keys)), keys)
        self.pointer.add_(len(keys)).remainder_(len(self.queue))

    # ------------------------------------------------------------ use

    def normalized(self, image: Tensor) -> Tensor:
        """Images (B, C, S, S) in [0, 1] with ImageNet's mean and deviation, (B, 3, S, S)."""
        return normalized(image, recipe(self.config, image.shape[3]))

    def predict(self, batch: Batch) -> Batch:
        feature = self.encoder(self.normalized(batch["image"]))
        if self.config.phase == "pretrain":
            return {"feature": feature.float()}
        return {"score": self.head(feature).float().sigmoid(), "feature": feature.float()}

    def score(self, batch: Batch, prediction: Batch) -> Batch:
        if self.config.phase != "pretrain":
            return findings.scores(batch, prediction["score"], self.labels)
        mirror = self.encoder(self.normalized(batch["image"].flip(3)))
        one, two = (F.normalize(self.embedding(part).float(), dim=1) for part in (prediction["feature"], mirror))
        return {"same": (one * two).sum(1), "other": (one @ self.queue.T).mean(1)}

    def pooled(self, scores: Batch) -> Batch:
        return {} if self.config.phase == "pretrain" else findings.pooled(scores, self.labels)
