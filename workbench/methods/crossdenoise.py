"""Cross-denoising: segment cup and disc of another camera, though many labels of the own camera are wrong.

A network fits wrong labels in the end and meets the other camera unprepared. Two peers of different initialisation
learn together: each picks for the other the images whose labels it believes, and labels for the other the target pixels
it is sure of, class by class, so that the small cup is not crowded out; a bounded loss blunts the errors that remain.

Source: a reconstruction after the abstract of Zhang, Liu, Ma, Zhuo, Zheng: Cross-denoising Network against Corrupted
Labels in Medical Image Segmentation with Domain Shift, IJCAI 2020, arXiv 2006.10990; no code is known. Stated: two
peers that choose for one another, a noise-tolerant loss, class-imbalanced cross learning from the most confident
predictions. Inferred: every formula, weight and schedule, the noise, the adversarial alignment of the output space
(AdaptSegNet, BEAL) and its discriminators; R(e) is that of co-teaching.

Selection, quantiles and class weights are those of a batch part: with accumulation or several processes each part
ranks its own images. Both peers get the same batch; in place of another order each turns and flips it in its own way.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import method, metrics
from workbench.compare import Claim
from workbench.config import Count, Fraction, Natural, Positive, Weight
from workbench.losses.adversarial import critic_loss, generator_loss
from workbench.losses.noisy import gce, noise_tolerant, remembered, smallest
from workbench.method import Batch, Update
from workbench.models import cupdisc
from workbench.models.cupdisc import Discriminator, Network, segmentor, to_label, to_maps, turned


@dataclass(frozen=True)
class Config(method.Config):
    network: Network = "small"  # of each peer, a U-Net; deeplab at paper scale (follow-up code)
    channels: Count = 3  # of the image, from the data
    base: Count = 8  # the U-Net's first width, doubled twice (inferred)
    power: Positive = 1.5  # g of the noise-robust Dice loss; 1 is the Dice loss (inferred; PyMIC)
    q: Fraction = 0.7  # of the generalised cross entropy; 0 is the cross entropy (inferred)
    balance: Weight = 1.0  # b, of the cross entropy beside the Dice loss (inferred)
    tau: Fraction = 0.5  # share of the labels that is dropped in the end, about the share that is wrong (inferred)
    ramp: Count = 8  # E_k, epochs until tau is reached; paper scale 10 (inferred; co-teaching)
    rank: Literal["pixels", "all"] = "pixels"  # ranks images by GCE_q, or by L_nt, which favours large discs (inferred)
    selection: Literal["image", "pixel"] = "image"  # what is dropped; pixels are PyMIC's variant (inferred)
    exchange: bool = True  # each peer learns from what the other chose and labelled, not from its own (paper)
    warm_up: Natural = 5  # epochs before cross learning on target images, as at paper scale (inferred)
    alpha_low: Fraction = 0.2  # share of each class's pixels that is kept just after the warm-up (inferred)
    alpha_high: Fraction = 0.5  # the same in the end (inferred)
    alpha_epochs: Count = 4  # epochs from the one to the other; paper scale 10 (inferred)
    threshold: Literal["class", "global"] = "class"  # confidence threshold: one a class, or one for all (paper, class)
    weight_limit: Positive = 5.0  # the largest class weight in cross learning (inferred)
    cross_weight: Weight = 0.5  # l_x, of cross learning (inferred)
    adv_weight: Weight = 0.001  # of the discriminators; 0 is without; 0.001 to 0.01 in follow-up code (inferred)
    critic_base: Count = 16  # channels of a discriminator's first layer; paper scale 64 (follow-up code)
    critic_depth: Count = 2  # its layers before the last; 4 at paper scale (follow-up code)
    critic_optimizer: Literal["adam", "sgd"] = "adam"  # sgd has momentum 0.99, decay 5e-4 (follow-up code)
    critic_lr: Positive = 1e-3  # the discriminators' rate; 2.5e-5 at paper scale (follow-up code)
    lr: Positive = 1e-2  # Adam's rate of the peers; 1e-3 at paper scale (follow-up code)
    beta1: Fraction = 0.9  # Adam (follow-up code)
    beta2: Fraction = 0.99  # Adam (follow-up code)


TINY = {"size": 64, "train": 96, "unlabelled": 40, "test": 40, "rho": 0.5, "batch": 8, "epochs": 15}
DEMO = {"train": 240, "unlabelled": 80, "test": 80, "epochs": 25, "batch": 8}
PAPER = {
    "size": 512, "train": 320, "unlabelled": 320, "test": 400, "rho": 0.5, "network": "deeplab", "critic_base": 64,
    "critic_depth": 4, "critic_optimizer": "sgd", "critic_lr": 2.5e-5, "lr": 1e-3, "adv_weight": 0.01, "ramp": 10,
    "warm_up": 5, "alpha_epochs": 10, "epochs": 200, "batch": 8,
}  # fmt: skip
ABLATIONS = {
    "self_selection": {"exchange": False},
    "ce_dice": {"power": 1.0, "q": 0.0},
    "global_threshold": {"threshold": "global"},
    "no_cross": {"cross_weight": 0.0},
    "no_adversarial": {"adv_weight": 0.0},
    "no_selection": {"tau": 0.0},
    "pixel_selection": {"selection": "pixel", "tau": 0.2},
}
RIVALS = ("source_only", "coteaching", "adaptseg")
FLOORS = ()
TABLE = tuple(
    ("average", name)
    for name in (
        "dice", "dice_cup", "dice_disc", "hd95_cup", "hd95_disc", "cdr", "selected_clean", "cup_kept", "cup_kept_global"
    )
)  # fmt: skip
SINGLE = ("coteaching", "adaptseg", "adaptseg-pair", "adaptseg-advent", "source_only-pair", "source_only-tolerant")
CLAIMS = (
    Claim("beats the source-only network", "dice", "source_only"),
    Claim("beats the source-only network on the cup", "dice_cup", "source_only", kind="reported"),
    *(Claim(f"no worse than {name}", "dice", name, kind="reported") for name in SINGLE),
    *(Claim(f"no worse than {name} on the cup", "dice_cup", name, kind="reported") for name in SINGLE),
    Claim("loses at most 0.02 to the source-only network", "dice", "source_only", margin=-0.02, kind="reported"),
    Claim("selects cleaner labels than are offered, by 0.1", "selected_gain", None, margin=0.1, kind="reported"),
    Claim("keeps more cup pixels than one threshold would", "cup_gain", None, kind="reported"),
    *(Claim(f"better than w/o: {name}", "dice", name, kind="reported") for name in ABLATIONS),
    *(Claim(f"better than w/o: {name} on the cup", "dice_cup", name, kind="reported") for name in ABLATIONS),
)
PEERS = {"a": "b", "b": "a"}  # each with its mentor


# ---------------------------------------------------------------- cross learning


def decided(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Maps of cup and disc, 0 or 1, and how sure each is, both (B, 2, H, W), from logits (B, 2, H, W).

    The confidence is the size of the logit, which does not saturate; a cup outside the disc is none, with a negative
    confidence. Each side of each map is a class of its own. Taking background, rim and cup instead fails: the surest
    pixels of the rim are those furthest from the cup, which are often not of the disc at all, so that it grows.
    """
    logits = logits.float()
    maps = to_maps(to_label(logits.sigmoid()))
    return maps, torch.where(maps > 0, logits, -logits)


def most_confident(confidence: Tensor, share: float) -> Tensor:
    """The `share` of values that are highest, at least one, as a mask of the same shape."""
    count = max(1, round(share * confidence.numel()))
    return confidence >= confidence.flatten().topk(count).values[-1]


def kept_by_class(maps: Tensor, confidence: Tensor, share: float) -> Tensor:
    """Of the pixels on each side of each map the `share` that is most confident, as a mask (B, 2, H, W)."""
    kept = torch.zeros_like(maps, dtype=torch.bool)
    for part, of_map, sure in zip(kept.unbind(1), maps.unbind(1), confidence.unbind(1), strict=True):
        for value in of_map.unique():
            of_class = of_map == value
            part[of_class] = most_confident(sure[of_class], share)
    return kept


def class_weights(maps: Tensor, limit: float) -> Tensor:
    """w_c = 1 / (2 freq_c), at most `limit`, for the side of its map that each pixel is on, (B, 2, H, W)."""
    inside = maps.mean((0, 2, 3), keepdim=True)
    return (0.5 / torch.where(maps > 0, inside, 1 - inside)).clamp_max(limit)


def cross_loss(logits: Tensor, maps: Tensor, kept: Tensor, limit: float) -> Tensor:
    """Weighted cross entropy to a peer's pseudo-labels over the pixels that it kept, mean over maps, a scalar
    (inferred).

    Args:
        logits, maps, kept: (B, 2, H, W) of cup and disc. Pixels that are not kept have no gradient.
    """
    entropy = F.binary_cross_entropy_with_logits(logits.float(), maps, reduction="none")
    weight, pixels = class_weights(maps, limit) * kept, (0, 2, 3)
    return ((weight * entropy).sum(pixels) / weight.sum(pixels).clamp_min(1e-5)).mean()


# ---------------------------------------------------------------- method


class CrossDenoise(method.Method):
    """predict: `mask` (B, 1, H, W), 0, 1 rim, 2 cup, and `score` (B, 2, H, W), probabilities of cup and disc, the mean
    of both peers.

    score adds `dice_a` and `dice_b`, each peer alone, and what training counted, the same for every item: the clean
    share of the selected images once R(e) is at its floor (`selected_clean`) and how far it exceeds that of all
    (`selected_gain`); the share of the pixels assigned to the cup that cross learning keeps by class (`cup_kept`), that
    one threshold for the same number of pixels would keep (`cup_kept_global`), and the difference (`cup_gain`). NaN
    where training did not come to it. Several processes count their own parts and the first one's count is kept.
    """

    Config = Config
    data = "fundus"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.net_a, self.net_b = (segmentor(c.network, c.channels, c.base) for _ in PEERS)
        if c.adv_weight > 0:
            self.critic_a, self.critic_b = (Discriminator(2, c.critic_base, c.critic_depth) for _ in PEERS)
        self.register_buffer("selected", torch.zeros(3))  # sums over steps: clean share chosen, of all; steps
        self.register_buffer("kept", torch.zeros(3))  # likewise: share of cup pixels kept by class, by one threshold

    def net(self, peer: str) -> nn.Module:
        return getattr(self, f"net_{peer}")

    def critic(self, peer: str) -> nn.Module:
        return getattr(self, f"critic_{peer}")

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        betas = (c.beta1, c.beta2)
        sides = {peer: torch.optim.Adam(self.net(peer).parameters(), c.lr, betas) for peer in PEERS}
        if c.adv_weight > 0:
            make = cupdisc.discriminator_optimizer
            sides |= {f"critic_{p}": make(self.critic(p), c.critic_optimizer, c.critic_lr, betas) for p in PEERS}
        return sides

    @property
    def remembered(self) -> float:
        """R(e) of this epoch."""
        return remembered(self.epoch - 1, self.config.tau, self.config.ramp)

    @property
    def alpha(self) -> float:
        """The share of each class's target pixels that is kept in this epoch."""
        c, done = self.config, self.epoch - 1 - self.config.warm_up
        return c.alpha_low + (c.alpha_high - c.alpha_low) * min(max(done / c.alpha_epochs, 0.0), 1.0)

    @property
    def crossing(self) -> bool:
        return self.config.cross_weight > 0 and self.epoch > self.config.warm_up

    # ------------------------------------------------------------ what a mentor says, without gradient

    def ask(self, peer: str, image: Tensor) -> Tensor:
        """Logits in evaluation mode, so that no image is judged by its neighbours."""
        net = self.net(peer)
        was = net.training
        with torch.no_grad():
            logits = net.eval()(image).float()
        net.train(was)
        return logits

    def choose(self, peer: str, image: Tensor, target: Tensor) -> Tensor:
        """What this peer believes: the places (K,) of images, or a mask (B, 1, H, W) of pixels, of least loss."""
        c, logits = self.config, self.ask(peer, image)
        pixels = gce(logits, target, c.q).mean(1, keepdim=True)
        if c.selection == "pixel":
            return most_confident(-pixels, self.remembered)
        if c.rank == "pixels":
            return smallest(pixels.flatten(1).mean(1), self.remembered)
        return smallest(noise_tolerant(logits, target, c.power, c.q, c.balance), self.remembered)

    def pseudo(self, peer: str, image: Tensor) -> tuple[Tensor, Tensor]:
        """Pseudo-labelled maps and the pixels that are kept, each (B, 2, H, W), of target images."""
        maps, confidence = decided(self.ask(peer, image))
        by_class = kept_by_class(maps, confidence, self.alpha)
        at_once = most_confident(confidence, by_class.float().mean().item())
        cup = maps[:, 0] > 0
        if cup.any():
            shares = [kept[:, 0][cup].float().mean() for kept in (by_class, at_once)]
            self.kept += torch.stack([*shares, torch.ones_like(shares[0])])
        return maps, by_class if self.config.threshold == "class" else at_once

    def count(self, chosen: dict[str, Tensor], noisy: Tensor) -> dict[str, Tensor]:
        """The clean share of both selections, to be logged; nothing is learnt from `noisy` (B,)."""
        if self.config.selection == "pixel":
            return {}
        clean = 1 - torch.stack([noisy[places].mean() for places in chosen.values()]).mean()
        if self.epoch > self.config.ramp:
            self.selected += torch.stack([clean, 1 - noisy.mean(), torch.ones_like(clean)])
        return {"selected_clean": clean}

    # ------------------------------------------------------------ what a peer learns

    def learn(self, peer: str, image: Tensor, target: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """L_nt on what was chosen, a scalar, and the maps (K, 2, H, W) that the discriminator sees."""
        c, draw, weight = self.config, self.rand(len(image), 3), None
        if c.selection == "image":
            image, target, draw = image[chosen], target[chosen], draw[chosen]
        else:
            weight = turned(chosen, draw).float()
        logits = self.net(peer)(turned(image, draw)).float()
        loss = noise_tolerant(logits, turned(target, draw), c.power, c.q, c.balance, weight)
        return loss.mean(), logits.detach().sigmoid()

    def adapt(self, peer: str, image: Tensor, said: tuple[Tensor, Tensor] | None) -> tuple[dict[str, Tensor], Tensor]:
        """The weighted terms on target images, and the maps (B, 2, H, W) that the discriminator sees."""
        c, terms, draw = self.config, {}, self.rand(len(image), 3)
        logits = self.net(peer)(turned(image, draw)).float()
        if said is not None:
            maps, kept = (turned(part, draw) for part in said)
            terms["cross"] = c.cross_weight * cross_loss(logits, maps, kept, c.weight_limit)
        maps = logits.sigmoid()
        if c.adv_weight > 0:
            terms["adv"] = c.adv_weight * generator_loss(self.critic(peer)(maps), "bce")
        return terms, maps.detach()

    def updates(self, batch: Batch) -> Iterator[Update]:
        c, image, target, labels = self.config, batch["image"], batch["target"], to_maps(batch["label"])
        chosen = {peer: self.choose(peer, image, labels) for peer in PEERS}
        said = {peer: self.pseudo(peer, target) if self.crossing else None for peer in PEERS}
        logs, seen = self.count(chosen, batch["noisy"]), {}
        for peer, other in PEERS.items():
            mentor = other if c.exchange else peer
            loss, maps = self.learn(peer, image, labels, chosen[mentor])
            terms = {"nt": loss}
            if self.crossing or c.adv_weight > 0:
                more, adapted = self.adapt(peer, target, said[mentor])
                terms, seen[peer] = terms | more, (maps, adapted)
            logs |= {f"{name}_{peer}": term.detach() for name, term in terms.items()}
            yield peer, sum(terms.values()), logs
            logs = {}
        for peer in PEERS if c.adv_weight > 0 else ():
            real, fake = (self.critic(peer)(maps) for maps in seen[peer])
            yield f"critic_{peer}", critic_loss(real, fake, "bce"), {}

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        return cupdisc.averaged([self.net_a, self.net_b], batch["image"])

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        found = cupdisc.scores(batch, prediction)
        for peer in PEERS:
            alone = to_maps(cupdisc.averaged([self.net(peer)], batch["image"])["mask"])
            pairs = zip(alone.unbind(1), to_maps(batch["label"]).unbind(1), strict=True)
            found[f"dice_{peer}"] = torch.stack([metrics.dice(*pair) for pair in pairs]).mean(0)
        return found | {key: value.expand(len(batch["image"])) for key, value in self.counted().items()}

    def counted(self) -> dict[str, Tensor]:
        """What training counted, as scalars."""
        (clean, offered, steps), (by_class, at_once, asked) = self.selected, self.kept
        found = {"selected_clean": clean / steps, "selected_gain": (clean - offered) / steps}
        found |= {"cup_kept": by_class / asked, "cup_kept_global": at_once / asked}
        return found | {"cup_gain": (by_class - at_once) / asked}
