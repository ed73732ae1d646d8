"""VideoGAN: move endoscopic videos of one centre to the colours of another, two frames of a video at a time.

A segmentor of polyps that was trained at one centre fails at another, whose videos differ in colour and light. Frames
of one video share both, so the generator sees two of them at once, in the form of an X: two encoder arms, a joint
centre, two decoder arms. A histogram loss asks of every translated frame the colours of a real video of the target
centre. The segmentor is left alone.

Source: a reconstruction after the abstract and introduction of Chen, Li, Ma, Zheng: Generative Adversarial Networks for
Video-to-Video Domain Adaptation, AAAI 2020, arXiv 2004.08058; no code is known. Stated: the X shape, the consistency
within a video as its reason, a colour histogram loss on each translated frame, better polyp segmentation between two
centres. Inferred: which parts are shared, the merge, every formula, weight and size, which way is translated (test
frames, to where the segmentor is at home), what frames are paired, and the segmentor. Generators and critics are the
ones that all translators here share, with their usual initial weights.
Known faults: colours that tell a polyp may be changed with the rest. The pools hold translated training frames; they
are kept in checkpoints, though not in the weights. A batch spread over processes is pooled within each, and only the
first one's pools are saved, so two processes do not equal one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from workbench import method
from workbench.compare import Claim
from workbench.config import Count, Fraction, Natural, Positive, Weight
from workbench.losses.histogram import Distance, histogram, histogram_loss
from workbench.method import Batch, Update
from workbench.models import videos
from workbench.models.cycle import Cycle, Framewise, awake, decoder, encoder, recolored, residuals


@dataclass(frozen=True)
class Config(videos.Settings):
    shape: Literal["x", "single"] = "x"  # of the generators: two frames at once (paper), or one, as CycleGAN's
    pairing: Literal["video", "strangers"] = "video"  # whence the second frame is; strangers is the negative control
    gap: Count = 2  # frames between the two of a pair at test (inferred)
    base: Count = 12  # channels after the first convolution (card: tiny preset); paper scale 64 (follow-up code)
    blocks: Natural = 3  # residual blocks of the centre (card: tiny preset); paper scale 6 (inferred)
    critic_base: Count = 16  # channels of the critics' first layer (card: tiny preset); paper scale 64 (follow-up code)
    critic_depth: Count = 3  # layers before the critics' last; 4 gives the 70x70 field of paper scale (follow-up code)
    critic_norm: bool = False  # instance normalisation in the critics, which hides colours; on at paper scale (code)
    pool: Natural = 16  # translated frames that each critic is shown again later; paper scale 50 (follow-up code)
    cycle_weight: Weight = 10.0  # l_cyc, of the L1 error of the round trips (follow-up code)
    hist_weight: Weight = 5.0  # l_hist, of the colour histograms; 1 to 10 (inferred)
    identity_weight: Weight = 0.0  # l_id, of the L1 change of what is already on the right side; 5 in follow-up code
    distance: Distance = "wasserstein"  # of two histograms (inferred)
    bins: Count = 32  # of a histogram (card: tiny preset); paper scale 64 (inferred)
    reference: Literal["video", "domain"] = "video"  # histogram of the step's other video, or of all (inferred)
    lr: Positive = 5e-4  # Adam's rate, generators and critics (card: tiny preset); paper scale 2e-4 (follow-up code)
    beta1: Fraction = 0.5  # Adam (follow-up code)
    beta2: Fraction = 0.999  # Adam (follow-up code)


TINY = {"epochs": 2, "batch": 2}
DEMO = {"frames": 12, "train": 20, "test": 20, "epochs": 3, "batch": 2}
PAPER = {
    "size": 256, "frames": 12, "train": 30, "valid": 4, "test": 20, "base": 64, "blocks": 6, "critic_base": 64,
    "critic_depth": 4, "critic_norm": True, "pool": 50, "bins": 64, "lr": 2e-4, "judge_base": 32,
    "judge_epochs": 20, "judge_lr": 1e-3, "epochs": 136, "batch": 1, "schedule": "linear",
}  # fmt: skip
ABLATIONS = {
    "no_hist": {"hist_weight": 0.0},
    "one_frame": {"shape": "single"},
    "strangers": {"pairing": "strangers"},
    "l2_hist": {"distance": "l2"},
    "domain_hist": {"reference": "domain"},
}
RIVALS = ("cyclegan_frames", "unit", "oracle")
FLOORS = ("direct", "histmatch", "reinhard")
TABLE = tuple(("average", name) for name in ("dice", "iou", "wasserstein", "flicker", "motion", "content", "dice_home"))
CLAIMS = (
    Claim("raises the segmentor's Dice above direct transfer by 0.05", "dice", "direct", margin=0.05),
    Claim("colours nearer to the target centre's than w/o: no_hist", "wasserstein", "no_hist"),
    Claim("colours nearer to the target centre's than untranslated", "wasserstein", "direct"),
    *(
        Claim(f"Dice no lower than {other}", "dice", other, kind="reported")
        for other in ("cyclegan_frames", "unit", "histmatch", "reinhard")
    ),
    *(
        Claim(f"flickers less than {other}", "flicker", other, kind="reported")
        for other in ("cyclegan_frames", "unit", "one_frame", "strangers")
    ),
    *(
        Claim(f"steadier along the true motion than {other}", "motion", other, kind="reported")
        for other in ("cyclegan_frames", "unit", "one_frame", "strangers")
    ),
    Claim("the X alone flickers less than CycleGAN", "flicker", "cyclegan_frames", kind="reported", arm="no_hist"),
    Claim("the histogram loss alone brings CycleGAN's colours nearer", "wasserstein", "cyclegan_frames",
          kind="reported", arm="one_frame"),
    *(
        Claim(f"edges kept as well as by {other}", "content", other, margin=-0.02, kind="reported")
        for other in ("cyclegan_frames", "no_hist", "one_frame")
    ),
    *(Claim(f"Dice higher than w/o: {name}", "dice", name, kind="reported") for name in ABLATIONS),
    Claim("Dice within 0.05 of a segmentor trained in-domain", "dice", "oracle", margin=-0.05, kind="reported"),
)  # fmt: skip


class XGenerator(nn.Module):
    """Two frames (B, 2, 3, H, W) in [0, 1] of one video -> both translated, (B, 2, 3, H, W); H, W multiples of 4.

    Encoder and decoder are the same in both arms. The centre looks at an arm's features beside the mean of both, so
    that swapping the frames swaps the results, and adds what it finds to the arm's own features. Source: inferred.
    """

    def __init__(self, base: int, blocks: int) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder(base, 0), decoder(base)
        self.merge = nn.Conv2d(8 * base, 4 * base, 1)
        self.centre = nn.Sequential(*residuals(base, blocks))
        awake(self, self.decoder[-1])

    def forward(self, frames: Tensor) -> Tensor:
        features = self.encoder(2 * frames.flatten(0, 1) - 1)
        own = features.unflatten(0, frames.shape[:2])
        joint = own.mean(1, keepdim=True).expand_as(own)
        merged = self.merge(torch.cat([own, joint], 2).flatten(0, 1))
        change = self.decoder(features + self.centre(merged))
        return recolored(frames.flatten(0, 1), change).view_as(frames)


def paired(generator: nn.Module, video: Tensor, length: Tensor, gap: int) -> Tensor:
    """Videos (B, 3, T, H, W) in [0, 1] translated, every pair (t, t + gap) once, each frame's two results averaged.

    The same as `videos.translated` with the video's own frames, at half of its cost: the generator treats both frames
    alike. Frames after the clip's `length` (B,) get the result of its last one.
    """
    step, times = torch.clamp(length - 1, max=gap)[:, None], torch.arange(video.shape[2], device=video.device)
    times = times.minimum(length[:, None] - 1)
    pairs = torch.stack([times, (times + step) % length[:, None]], 2)
    made = torch.stack([generator(videos.taken(video, pair)) for pair in pairs.unbind(1)], 3)
    first, second = made.unbind(1)
    return (first + videos.taken(second, (times - step) % length[:, None]).transpose(1, 2)) / 2


class VideoGAN(method.Method):
    """predict: `color` (B, 3, T, H, W) in [0, 1], the video at the target centre, and `mask` (B, 1, T, H, W) on it."""

    Config = Config
    data = "endoscopy"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.judge = videos.Judge(c)  # first, so that every arm has the same one
        make = XGenerator if c.shape == "x" else Framewise
        forth, back = (make(c.base, c.blocks) for _ in range(2))
        self.cycle = Cycle(forth, back, c.critic_base, c.critic_depth, c.critic_norm, c.pool)
        for side in ("target", "image"):  # sums of the histograms seen, and their number
            self.register_buffer(f"seen_{side}", torch.zeros(3, c.bins))
            self.register_buffer(f"count_{side}", torch.zeros(()))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c, betas = self.config, (self.config.beta1, self.config.beta2)
        sides = {f"critic_{side}": self.cycle.critic(side).parameters() for side in ("target", "image")}
        sides = {"generator": self.cycle.generators()} | sides
        judge = {"judge": torch.optim.Adam(self.judge.parameters(), c.judge_lr)}
        return judge | {name: torch.optim.Adam(p, c.lr, betas) for name, p in sides.items()}

    def pair(self, batch: Batch, side: str) -> Tensor:
        """Two frames (B, 2, 3, H, W) of each clip, or one of it and one of another video for the control."""
        length = batch["length" if side == "image" else "target_length"]
        draws = self.rand(len(length), 2)
        if self.config.pairing == "video":
            return videos.taken(batch[side], videos.two_frames(length, draws))
        other = "stranger" if side == "image" else "target_stranger"
        places = [(draw * size).long() for draw, size in zip(draws.T, (length, batch[f"{other}_length"]), strict=True)]
        clips = zip((batch[side], batch[other]), places, strict=True)
        return torch.cat([videos.taken(clip, place[:, None]) for clip, place in clips], 1)

    def wanted(self, real: Tensor, side: str) -> Tensor:
        """The histograms (B, 3, bins) that frames translated to a side are to have; real frames are (B, n, 3, H, W)."""
        own = histogram(real.transpose(1, 2), self.config.bins).detach()
        if self.config.reference == "video":
            return own
        seen, count = getattr(self, f"seen_{side}"), getattr(self, f"count_{side}")
        seen += own.sum(0)
        count += len(own)
        return (seen / count).expand_as(own)

    def colors(self, made: Tensor, wanted: Tensor) -> Tensor:
        """L_hist of one direction, a scalar: each translated frame (B, n, 3, H, W) against its video's reference."""
        frames = [histogram_loss(frame, wanted, self.config.distance) for frame in made.unbind(1)]
        return torch.stack(frames).mean()

    def updates(self, batch: Batch) -> Iterator[Update]:
        c, draws = self.config, self.rand(len(batch["image"]), self.config.judge_frames)
        if self.epoch <= c.judge_epochs:
            yield "judge", self.judge.loss(batch["target"], batch["target_label"], batch["target_length"], draws), {}
        real = {side: self.pair(batch, side) for side in ("image", "target")}
        made = self.cycle.made(real["image"], real["target"])
        terms = self.cycle.terms(real, made, c.cycle_weight, c.identity_weight)
        if c.hist_weight > 0:
            apart = {side: self.colors(made[side], self.wanted(real[side], side)) for side in made}
            terms["hist"] = c.hist_weight * sum(apart.values())
        yield "generator", sum(terms.values()), {name: term.detach() for name, term in terms.items()}
        for side, fake in made.items():
            draws = self.rand(len(fake), 4)
            yield f"critic_{side}", self.cycle.critic_term(side, real[side], fake.detach(), draws), {}

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        c, video = self.config, batch["image"]
        if c.shape == "single":
            color = videos.framewise(self.cycle.forth, video)
        elif c.pairing == "video":
            color = paired(self.cycle.forth, video, batch["length"], c.gap)
        else:
            color = videos.translated(self.cycle.forth, video, batch["stranger"], batch["stranger_length"], c.gap)
        return {"color": color, "mask": self.judge.mask(color)}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return videos.scores(batch, prediction, self.judge, self.config.classes)
