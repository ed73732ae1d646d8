"""C2L's pre-training: a step through the loop against its bare passes, and the queue against concatenation and copies.

The floor of a step is what no way of writing it can leave out: both student passes forward and backward and both
teacher passes, on views made before, in bare PyTorch, without optimizer, teacher's following, augmentation, mixing and
contrast. The whole step may take 1.1 times as long. First the embeddings of both sides, and the gradients of one and
the same sum of them, are compared.

The queue is written in place, and scored as it is. The other side does as the released code: it copies the queue for
every term, concatenates its newest keys to the others, lays the positive beside the negatives and writes NCE out. First
the losses, the gradients and the queues of both are compared, over steps in which the ring wraps around.

    python benchmarks/pretraining.py [--repeats 15] [--threads 2] [--dry]

Ratios are of turns that follow one another. The intervals are the median's, of 95 % from six repeats on, by ranks.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from scipy.stats import binom
from torch import Tensor

from workbench import fit
from workbench.fit import Budget
from workbench.method import Stream
from workbench.methods import c2l
from workbench.methods.c2l import C2L, Config

SIZES = {  # settings, side of the images, images a step
    "tiny": ({}, 64, 64),
    "resnet18": ({"backbone": "resnet18", "dim": 128, "queue": 16384, "groups": 4}, 96, 16),
}
DIM = 128  # components of a key (paper scale)
QUEUES = ((16384, 128), (65536, 32))  # places, and keys that a term enqueues; the first as at paper scale


# ---------------------------------------------------------------- a step


class Bare:
    """The passes of a step, on a model's own networks."""

    def __init__(self, model: C2L, image: Tensor) -> None:
        self.model, self.groups = model, model.config.groups
        model.stream = Stream(0)
        first, second = model.varied(image), model.varied(image)
        partner, self.order = (model.rand(len(image)).argsort() for _ in range(2))
        share = model.share()
        self.student_sees = [first, c2l.mixed(first, share, partner)]
        self.teacher_sees = [view[self.order].clone() for view in (second, c2l.mixed(second, share, partner))]
        self.learning = [p for p in model.parameters() if p.requires_grad]

    def passes(self) -> tuple[list[Tensor], list[Tensor]]:
        """Embeddings of the student, and of the teacher in its own order."""
        model = self.model
        with torch.no_grad():
            keys = [torch.cat([model.teacher(part) for part in view.chunk(self.groups)]) for view in self.teacher_sees]
        queries = [
            torch.cat([model.embedding(model.encoder(part)) for part in view.chunk(self.groups)])
            for view in self.student_sees
        ]
        return queries, keys

    def step(self) -> None:
        for weight in self.learning:
            weight.grad = None
        queries, _ = self.passes()
        sum(query.square().sum() for query in queries).backward()


def agree(model: C2L, bare: Bare, image: Tensor) -> float:
    """The largest difference of an embedding or a gradient of the two sides, relative to the largest.

    Raises:
        AssertionError: they are not the same.
    """
    model.stream = Stream(0)
    (query, key), (blend, mixed_key), _ = model.pairs(image)
    (query.square().sum() + blend.square().sum()).backward()
    found = [query, blend, key[bare.order], mixed_key[bare.order], *(p.grad.clone() for p in bare.learning)]
    queries, keys = bare.passes()
    bare.step()
    wanted = [*queries, *keys, *(p.grad for p in bare.learning)]
    gaps = []
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, two, atol=1e-4 * float(two.detach().abs().max()), rtol=1e-3)
        gaps.append(float(((one - two).abs().max() / two.abs().max().clamp_min(1e-12)).detach()))
    return max(gaps)


def step(name: str, chosen: argparse.Namespace) -> dict[str, Any]:
    changes, side, count = SIZES[name]
    torch.manual_seed(0)
    model = C2L(Config(phase="pretrain", **changes))
    for weight in (weight for weight in model.parameters() if weight.ndim == 4):  # as the loop lays them out
        weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    model.train()
    image = torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(1))
    bare = Bare(model, image)
    gap = agree(model, bare, image)
    optimizers, budget = model.optimizers(), Budget(batch=count, precision="float32")
    sides = {
        "step": lambda: fit.step(model, optimizers, [{"image": image}], 0, budget, False),
        "floor": bare.step,
        "augmentation": lambda: (model.varied(image), model.varied(image)),
    }
    steps, fewer = (chosen.steps, 1) if name == "tiny" else (1, 2)
    times = in_turns(sides, max(3, chosen.repeats // fewer), steps)
    record = {f"{key}, ms": spread([1e3 * s for s in values]) for key, values in times.items()}
    record["step : floor"] = spread([a / b for a, b in zip(times["step"], times["floor"])])
    told = {"largest relative difference": float(f"{gap:.2g}"), "batch": count, "size": side}
    return record | told | {"queue": model.config.queue, "backbone": model.config.backbone}


# ---------------------------------------------------------------- the queue


class Copied:
    """The queue as the release has it: copied for each term, its newest keys concatenated to the others."""

    def __init__(self, model: C2L) -> None:
        self.queue, self.config, self.z = model.queue.clone(), model.config, None

    def contrasted(self, pairs: c2l.Pairs) -> Tensor:
        c, total = self.config, 0
        for query, key in pairs:
            query, key = query / query.norm(dim=1, keepdim=True), key / key.norm(dim=1, keepdim=True)
            negative = query @ self.queue.clone().detach().T
            score = torch.cat([(query * key).sum(1, keepdim=True), negative], 1) / c.temperature
            if self.z is None:
                self.z = c.images * score.detach().exp().mean()
            p, noise = score.exp() / self.z, c.queue / c.images
            right = (p[:, 0] / (p[:, 0] + noise + c.eps)).log()
            total = total - (right + (noise / (p[:, 1:] + noise + c.eps)).log().sum(1)).mean()
            self.queue = torch.cat([self.queue[len(key) :], key])
        return total / len(pairs)


def drawn(seed: int, count: int) -> c2l.Pairs:
    """Queries and keys of three terms."""
    generator = torch.Generator().manual_seed(seed)
    query, blend, *keys = (torch.randn(count, DIM, generator=generator) for _ in range(5))
    query.requires_grad_(), blend.requires_grad_()
    return [(query, keys[0]), (blend, keys[1]), (blend, keys[2])]


def ring_step(model: C2L, pairs: c2l.Pairs) -> Tensor:
    loss, keys, _ = model.contrasted(pairs)
    loss.backward()
    model.write(keys)
    return loss


def copied_step(other: Copied, pairs: c2l.Pairs) -> Tensor:
    loss = other.contrasted(pairs)
    loss.backward()
    return loss


def queue(places: int, count: int, chosen: argparse.Namespace) -> dict[str, Any]:
    torch.manual_seed(0)
    model = C2L(Config(phase="pretrain", contrast="nce", queue=places, dim=DIM, temperature=0.07, images=700_000))
    other = Copied(model)
    gaps = [apart(model, other, seed, count) for seed in range(2)]
    model.pointer.fill_(places - count)  # from here the ring wraps around in the middle of a step
    other.queue = model.queue.roll(count, 0).clone()
    gaps += [apart(model, other, seed, count) for seed in range(2)]
    pairs = drawn(99, count)
    sides = {"ring": lambda: ring_step(model, pairs), "copies": lambda: copied_step(other, pairs)}
    times = in_turns(sides, chosen.repeats, 1)
    record = {f"{key}, ms": spread([1e3 * s for s in values]) for key, values in times.items()}
    record["copies : ring"] = spread([b / a for a, b in zip(times["ring"], times["copies"])])
    told = {"largest relative difference of a loss": float(f"{max(gaps):.2g}"), "steps compared": len(gaps)}
    return record | told | {"keys a step": 3 * count}


def apart(model: C2L, other: Copied, seed: int, count: int) -> float:
    """One step of both; the relative difference of the losses.

    Raises:
        AssertionError: losses, gradients or queues are not the same.
    """
    one, two = drawn(seed, count), drawn(seed, count)
    first, second = ring_step(model, one), copied_step(other, two)
    torch.testing.assert_close(first, second, atol=0, rtol=1e-3)
    for left, right in zip(one[:2], two[:2]):
        torch.testing.assert_close(left[0].grad, right[0].grad, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(model.queue.roll(-int(model.pointer), 0), other.queue, atol=1e-6, rtol=1e-5)
    return float(((first - second).abs() / second).detach())


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
    parser.add_argument("--steps", type=int, default=4, help="steps in a turn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=("step", "queue"), help="one of the two comparisons alone")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "pretraining.json")
    parser.add_argument("--dry", action="store_true", help="print the results without writing them")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    record: dict[str, Any] = {}
    if chosen.only != "queue":
        record |= {f"a step, {name}": step(name, chosen) for name in SIZES}
    if chosen.only != "step":
        record |= {f"queue of {places} keys": queue(places, count, chosen) for places, count in QUEUES}
    record |= {"threads": torch.get_num_threads(), "repeats": chosen.repeats}
    if not chosen.dry:
        chosen.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
