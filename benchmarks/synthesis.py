"""TC-MGAN and VideoGAN at the tiny preset: a training step through the loop against plain PyTorch, and translation.

The plain steps below are what one would write for one method alone: networks and histogram are the package's; losses,
pools and optimizer calls are spelt out. Both sides begin with the same weights, take the same batches and draws in
float32, and after every turn have the same weights, or the benchmark stops. Then the price of the gradient penalty in
TC-MGAN's critic step, after a comparison of the gradients with the method's; and images a second in `predict` beside
the generator alone on inputs made ready, after a comparison of the pictures.

    python benchmarks/synthesis.py [--repeats 15] [--steps 4] [--threads 2] [--dry]

Ratios are of turns that follow one another. The intervals are the median's, of 95 % from six repeats on, by ranks: no
law of the times is assumed.
"""

import argparse
import copy
import functools
import json
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from scipy.stats import binom
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import fit, method
from workbench.data import Cases, brain, endoscopy
from workbench.losses.histogram import histogram, wasserstein
from workbench.method import Batch, Stream, seed_of
from workbench.models import videos
from workbench.models.synthesis import of_modality, with_planes
from workbench.progress import Progress
from workbench.study import settings

EPOCH = 9  # the first in which judges are done and synthesis is learnt
TOLERANCE = 1e-6  # largest difference of two weights after any turn
LARGER = 128  # side of the images, at the widths of the paper, pixels
CLIP = 4  # frames of a clip to translate

Rand = Callable[..., Tensor]


# ---------------------------------------------------------------- plain PyTorch


def frozen(*nets: nn.Module) -> None:
    for net in nets:
        net.requires_grad_(False)


def learning(*nets: nn.Module) -> None:
    for net in nets:
        net.requires_grad_(True)


def moved(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def dice_loss(logits: Tensor, tumour: Tensor) -> Tensor:
    p, t = logits.sigmoid().flatten(1), tumour.flatten(1)
    return (1 - (2 * (p * t).sum(1) + 1) / (p.sum(1) + t.sum(1) + 1)).mean()


class PlainTCMGAN:
    """TC-MGAN's step by hand, on a copy of a model's networks."""

    batch = 16

    def __init__(self, model: method.Method) -> None:
        self.config, rates = model.config, {"generator": "lr", "critic": "lr", "segmentor": "seg_lr"}
        self.parts = nn.ModuleDict({name: copy.deepcopy(getattr(model, name)) for name in rates})
        betas = (model.config.beta1, model.config.beta2)
        self.adam = {
            name: torch.optim.Adam(net.parameters(), getattr(model.config, rates[name]), betas)
            for name, net in self.parts.items()
        }

    def step(self, batch: Batch, rand: Rand) -> None:
        c, generator, critic, segmentor = self.config, *self.parts.values()
        modality = (3 * rand(len(batch["image"]), 2, device="cpu")[:, 0]).long()
        code = F.one_hot(modality, 3).float()
        t2, real = 2 * batch["image"] - 1, 2 * of_modality(batch["target"], modality) - 1
        tumour, inputs = batch["label"].float(), with_planes(t2, modality)

        with torch.no_grad():
            made = generator(inputs)
        self.critic_step(t2, real, made, code, rand(len(t2), device="cpu"))

        frozen(critic, segmentor)
        made = generator(inputs)
        realness, kind = critic(made, t2)
        loss = -realness.sum((1, 2, 3)).mean()
        loss = loss + c.cls_weight * F.binary_cross_entropy_with_logits(kind, code, reduction="sum") / len(t2)
        loss = loss + c.rec_weight * 128**2 * (made - real).abs().mean()
        loss = loss + c.seg_weight * dice_loss(segmentor(made, modality), tumour)
        moved(self.adam["generator"], loss)
        learning(critic, segmentor)

        with torch.no_grad():
            made = generator(inputs)
        losses = [dice_loss(segmentor(image, modality), tumour) for image in (made, real)]
        moved(self.adam["segmentor"], c.mixture * losses[0] + (1 - c.mixture) * losses[1])

    def critic_step(self, t2: Tensor, real: Tensor, made: Tensor, code: Tensor, mix: Tensor | None) -> None:
        """Without a `mix` there is no gradient penalty."""
        c, critic = self.config, self.parts["critic"]
        (true, kind), (false, _) = critic(real, t2), critic(made, t2)
        loss = false.sum((1, 2, 3)).mean() - true.sum((1, 2, 3)).mean()
        loss = loss + c.cls_weight * F.binary_cross_entropy_with_logits(kind, code, reduction="sum") / len(t2)
        if mix is not None:
            mix = mix.view(-1, 1, 1, 1)
            between = (mix * real + (1 - mix) * made).requires_grad_(True)
            (slope,) = torch.autograd.grad(critic(between, t2)[0].sum(), between, create_graph=True)
            loss = loss + c.penalty * (slope.flatten(1).norm(dim=1) - 1).square().mean()
        moved(self.adam["critic"], loss)


class PlainVideoGAN:
    """VideoGAN's step by hand, on a copy of a model's networks."""

    batch = 2

    def __init__(self, model: method.Method) -> None:
        self.config, cycle = model.config, copy.deepcopy(model.cycle)
        names = ("forth", "back", "critic_target", "critic_image")
        self.parts = nn.ModuleDict({name: getattr(cycle, name) for name in names})
        self.pools: dict[str, list[Tensor]] = {"target": [], "image": []}
        makers = [*self.parts["forth"].parameters(), *self.parts["back"].parameters()]
        owners = {"generator": makers} | {side: self.parts[f"critic_{side}"].parameters() for side in self.pools}
        betas = (model.config.beta1, model.config.beta2)
        self.adam = {name: torch.optim.Adam(owned, model.config.lr, betas) for name, owned in owners.items()}

    def step(self, batch: Batch, rand: Rand) -> None:
        c, forth, back, critic_target, critic_image = self.config, *self.parts.values()
        count = len(batch["image"])
        rand(count, c.judge_frames, device="cpu")  # the segmentor's, whose epochs are over
        image, target = (
            videos.taken(batch[side], videos.two_frames(batch[length], rand(count, 2, device="cpu")))
            for side, length in (("image", "length"), ("target", "target_length"))
        )

        frozen(critic_target, critic_image)
        to_target, to_image = forth(image), back(target)
        loss = (critic_target(to_target.flatten(0, 1)) - 1).square().mean()
        loss = 2 * (loss + (critic_image(to_image.flatten(0, 1)) - 1).square().mean())
        trips = F.l1_loss(2 * back(to_target), 2 * image) + F.l1_loss(2 * forth(to_image), 2 * target)
        loss = loss + 2 * c.cycle_weight * trips
        loss = loss + c.hist_weight * (self.colors(to_target, target) + self.colors(to_image, image))
        moved(self.adam["generator"], loss)
        learning(critic_target, critic_image)

        for side, critic, real, made in (
            ("target", critic_target, target, to_target), ("image", critic_image, image, to_image)
        ):  # fmt: skip
            old = self.pooled(side, made.detach().flatten(0, 1), rand(count, 4, device="cpu").view(-1, 2))
            true, false = critic(real.flatten(0, 1)), critic(old)
            moved(self.adam[side], ((true - 1).square().mean() + false.square().mean()) / 2)

    def colors(self, made: Tensor, real: Tensor) -> Tensor:
        """Mean distance of the colours of each made frame from those of both real ones, a scalar."""
        wanted = histogram(real.transpose(1, 2), self.config.bins)
        return torch.stack([wasserstein(histogram(made[:, n], self.config.bins), wanted) for n in range(2)]).mean()

    def pooled(self, side: str, frames: Tensor, draws: Tensor) -> Tensor:
        """Half of the frames are exchanged for older ones once the pool is full."""
        pool, shown = self.pools[side], []
        for frame, (whether, which) in zip(frames, draws.tolist(), strict=True):
            if len(pool) < self.config.pool:
                pool.append(frame)
            elif whether < 0.5:
                place = int(which * self.config.pool)
                pool[place], frame = frame, pool[place]
            shown.append(frame)
        return torch.stack(shown)


# ---------------------------------------------------------------- steps


def tcmgan_data(steps: int) -> Cases:
    return brain.phantom(brain.Options(train=steps * PlainTCMGAN.batch, valid=1, test=1)).train


def videogan_data(steps: int) -> Cases:
    """At least so many steps: every clip meets every other."""
    clips = next(n for n in range(2, 99) if n * n >= steps * PlainVideoGAN.batch)
    return endoscopy.phantom(endoscopy.Options(train=clips, valid=2, test=2)).train


def built(name: str, **changes: Any) -> method.Method:
    torch.manual_seed(0)
    return method.method_class(name)(method.module(name).Config(**changes))


def looped(loop: fit.Loop) -> float:
    """Seconds that one epoch of the loop takes."""
    told = Progress(loop.epoch, loop.budget.epochs, 0, loop.steps, loop.method, loop.total)
    start = time.perf_counter()
    fit.run_epoch(loop, None, told, threading.Event(), None, None)
    return time.perf_counter() - start


def by_hand(plain: Any, train: Cases, epoch: int) -> float:
    """Seconds that the same steps by hand take, on the same order of items."""
    items, size = fit.order(len(train), 0, epoch).tolist(), plain.batch
    start = time.perf_counter()
    for done in range(len(items) // size):
        batch = train.__getitems__(items[done * size : (done + 1) * size])
        plain.step(batch, Stream(seed_of(0, epoch, done)).rand)
    return time.perf_counter() - start


def largest_difference(plain: Any, model: method.Method) -> float:
    """Of any weight or running statistic."""
    holder = getattr(model, "cycle", model)
    gaps = [
        (value.double() - getattr(holder, name).state_dict()[key].double()).abs().max().item()
        for name, net in plain.parts.items()
        for key, value in net.state_dict().items()
    ]
    return max(gaps)


def training(name: str, train: Cases, chosen: argparse.Namespace, images: int) -> dict:
    """A step through the loop against one by hand; an item has so many `images` that go through a generator."""
    model = built(name)
    plain = {"tcmgan": PlainTCMGAN, "videogan": PlainVideoGAN}[name](model)
    budget = fit.Budget(batch=plain.batch, precision="float32", channels_last=False, valid_every=0, device="cpu")
    loop = fit.Loop(model, train, budget, 0, None)
    loop.epoch, gap = EPOCH, 0.0
    times: dict[str, list[float]] = {"loop": [], "plain": []}
    for repeat in range(chosen.repeats + 1):
        epoch = loop.epoch
        for side in ("loop", "plain") if repeat % 2 else ("plain", "loop"):  # taking turns, so that drift hits both
            seconds = looped(loop) if side == "loop" else by_hand(plain, train, epoch)
            times[side] += [seconds / loop.steps] if repeat else []  # the first warms up
        gap = max(gap, largest_difference(plain, model))
        if gap > TOLERANCE:
            raise SystemExit(f"{name}: weights differ by {gap:.3g} in turn {repeat + 1}, expected {TOLERANCE}")
    record = {f"{side}, images a second": spread([images * plain.batch / s for s in v]) for side, v in times.items()}
    record["loop : plain"] = spread([a / b for a, b in zip(times["loop"], times["plain"])])
    return record | {
        "steps compared": loop.steps * (chosen.repeats + 1), "largest difference of a weight": float(f"{gap:.2g}"),
        "batch": plain.batch, "size": model.config.size,
    }  # fmt: skip


# ---------------------------------------------------------------- the penalty


def penalty(train: Cases, chosen: argparse.Namespace) -> dict:
    """TC-MGAN's critic step, images made before, with the gradient penalty and without."""
    batch = train.__getitems__(range(PlainTCMGAN.batch))
    modality = torch.arange(len(batch["image"])) % 3
    t2, real = 2 * batch["image"] - 1, 2 * of_modality(batch["target"], modality) - 1
    mix, code = Stream(0).rand(len(t2), device=t2.device), F.one_hot(modality, 3).float()
    sides = {}
    for side, weight in (("with", built("tcmgan").config.penalty), ("without", 0.0)):
        model = built("tcmgan", penalty=weight)
        made = model.make(t2, modality).detach()
        plain = PlainTCMGAN(model)
        model.stream = Stream(0)
        sum(model.critic_terms(t2, real, modality).values()).backward()
        sides[side] = functools.partial(plain.critic_step, t2, real, made, code, mix if weight else None)
        sides[side]()
        for one, two in zip(model.critic.parameters(), plain.parts["critic"].parameters()):
            torch.testing.assert_close(one.grad, two.grad, msg=f"{side} the penalty: another gradient")
    times = in_turns(sides, chosen.repeats, chosen.steps)
    record = {f"{side}, ms a step": spread([1e3 * s for s in v]) for side, v in times.items()}
    return record | {"with : without": spread([a / b for a, b in zip(times["with"], times["without"])])}


# ---------------------------------------------------------------- translation


def translation(name: str, preset: str, chosen: argparse.Namespace) -> dict:
    """Images that `predict` translates in a second, and as many by the generator alone from inputs made ready."""
    changes = {} if preset == "tiny" else settings(name, method.preset(name, "paper"))[0] | {"size": LARGER}
    model = built(name, **changes).eval()
    size = model.config.size
    ready, batch, count = (slices if name == "tcmgan" else frames)(model, size, 16 if preset == "tiny" else 2)
    sides = {"predict": lambda: model.predict(batch)["color"], "generator": ready}
    with torch.inference_mode():
        torch.testing.assert_close(sides["predict"](), sides["generator"](), atol=1e-4, rtol=1e-4)
        times = in_turns(sides, chosen.repeats if preset == "tiny" else max(3, chosen.repeats // 3), 1)
    record = {f"{side}, a second": spread([count / s for s in v]) for side, v in times.items()}
    record["predict : generator"] = spread([a / b for a, b in zip(times["predict"], times["generator"])])
    return record | {"size": size, "base": model.config.base, "batch": len(batch["image"])}


def slices(model: method.Method, size: int, count: int) -> tuple[Callable[[], Tensor], Batch, int]:
    """The three modalities of T2 slices, the inputs with their planes made ready."""
    batch = brain.phantom(brain.Options(size=size, train=1, valid=1, test=count)).test.__getitems__(range(count))
    t2 = 2 * batch["image"] - 1
    inputs = [with_planes(t2, torch.full((count,), n)) for n in range(3)]
    return lambda: (torch.cat([model.generator(one) for one in inputs], 1) + 1) / 2, batch, count


def frames(model: method.Method, size: int, count: int) -> tuple[Callable[[], Tensor], Batch, int]:
    """The frames of clips, every pair (t, t + gap) once: it gives both of its frames a result."""
    clips = max(count // 4, 1)
    options = endoscopy.Options(size=size, frames=CLIP, train=2, valid=2, test=clips)
    batch = endoscopy.phantom(options).test.__getitems__(range(clips))
    places = [(time, (time + model.config.gap) % CLIP) for time in range(CLIP)]
    pairs = [videos.taken(batch["image"], torch.tensor([place] * clips)) for place in places]

    def generated() -> Tensor:
        first, second = torch.stack([model.cycle.forth(pair) for pair in pairs], 3).unbind(1)
        return (first + second.roll(model.config.gap, 2)) / 2

    return generated, batch, clips * CLIP


# ---------------------------------------------------------------- times


def in_turns(sides: dict[str, Callable[[], object]], repeats: int, steps: int) -> dict[str, list[float]]:
    """Seconds of each way, the mean of some steps a turn; the first turn warms up."""
    times: dict[str, list[float]] = {side: [] for side in sides}
    for repeat in range(repeats + 1):
        for side in sides if repeat % 2 else reversed(sides):
            start = time.perf_counter()
            for _ in range(steps):
                sides[side]()
            times[side] += [(time.perf_counter() - start) / steps] if repeat else []
    return times


def spread(values: list[float]) -> dict[str, Any]:
    """Median, the interval of the median, and extremes."""
    values = sorted(values)
    rank = max(int(binom.ppf(0.025, len(values), 0.5)), 1)
    found = {"median": statistics.median(values), "interval": [values[rank - 1], values[-rank]]}
    found |= {"min": values[0], "max": values[-1]}
    return {key: [rounded(v) for v in value] if key == "interval" else rounded(value) for key, value in found.items()}


def rounded(value: float) -> float:
    return float(f"{value:.4g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--steps", type=int, default=4, help="training steps in a turn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "synthesis.json")
    parser.add_argument("--dry", action="store_true", help="print the results without writing them")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    train = tcmgan_data(chosen.steps)
    record = {
        "tcmgan, a training step": training("tcmgan", train, chosen, 1),
        "videogan, a training step": training("videogan", videogan_data(chosen.steps), chosen, 4),
        "tcmgan, gradient penalty in the critic's step": penalty(train, chosen),
    }
    for name, what in (("tcmgan", "T2 slices to three modalities"), ("videogan", "frames")):
        for preset in ("tiny", "larger"):
            record[f"{name}, {what}, {preset}"] = translation(name, preset, chosen)
    record |= {"threads": torch.get_num_threads(), "repeats": chosen.repeats}
    if not chosen.dry:
        chosen.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
