"""The colour-histogram loss against kornia's differentiable histogram, forward and backward, side by side.

Both first compute the same loss: the mean Wasserstein-1 distance of the channels of two batches. The kernels differ
(two bins here, a Gaussian there), so that is checked to a tolerance, for the loss and for its gradient's direction.

    python benchmarks/histogram.py [--repeats 9] [--side 256] [--bins 64] [--threads 2]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from kornia.enhance import histogram as kornia_histogram
from torch import Tensor

from workbench.losses.histogram import histogram, wasserstein

TOLERANCE = 0.03  # relative, of the loss
ALIGNED = 0.95  # least cosine of the two gradients


def gaussian(image: Tensor, bins: int) -> Tensor:
    """(B, C, bins) by kornia, a bandwidth of one bin."""
    places = torch.linspace(0, 1, bins)
    rows = kornia_histogram(image.flatten(2).flatten(0, 1), places, torch.tensor(1 / bins))
    return rows.view(*image.shape[:2], bins)


def naive(image: Tensor, bins: int) -> Tensor:
    """(B, C, bins): every value against every bin, shared between two of them as the package does."""
    place = image.flatten(2).unsqueeze(-1) * (bins - 1)
    return (1 - (place - torch.arange(bins)).abs()).clamp_min(0).mean(2)


def scattered(image: Tensor, bins: int) -> Tensor:
    """(B, C, bins): the package's shares left to autograd."""
    place = image.flatten(2).clamp(0, 1) * (bins - 1)
    lower = place.detach().long().clamp_max(bins - 2)
    upper = place - lower
    counts = torch.zeros(*image.shape[:2], bins)
    return counts.scatter_add(2, lower, 1 - upper).scatter_add(2, lower + 1, upper) / place.shape[2]


def timed(count: Callable[[Tensor, int], Tensor], image: Tensor, reference: Tensor, bins: int) -> tuple:
    """Milliseconds of one pass forward and backward, the loss and its gradient."""
    image = image.clone().requires_grad_()
    start = time.perf_counter()
    loss = wasserstein(count(image, bins), reference).mean()
    loss.backward()
    return (time.perf_counter() - start) * 1e3, loss.detach(), image.grad


def check(ways: dict[str, tuple], image: Tensor, bins: int) -> None:
    """That every way computes the same loss and pulls the same way."""
    found = {name: timed(count, image, reference, bins)[1:] for name, (count, reference) in ways.items()}
    loss, gradient = found["workbench"]
    for name, (other, pull) in found.items():
        torch.testing.assert_close(other, loss, rtol=TOLERANCE, atol=0, msg=f"{name}: {other} and not {loss}")
        aligned = torch.cosine_similarity(pull.flatten(), gradient.flatten(), dim=0)
        if aligned < ALIGNED:
            raise SystemExit(f"{name}: cosine of the gradients {aligned:.3f}, expected {ALIGNED}")


def summary(values: list[float]) -> dict[str, float]:
    found = {"median_ms": statistics.median(values), "min_ms": min(values), "max_ms": max(values)}
    return {key: round(value, 2) for key, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--bins", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "histogram.json")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    image, other = torch.rand(4, 3, chosen.side, chosen.side) * 0.6 + 0.1, torch.rand(4, 3, chosen.side, chosen.side)
    counts = {"workbench": histogram, "scatter_add, autograd": scattered, "naive": naive, "kornia": gaussian}
    ways = {name: (count, count(other, chosen.bins).detach()) for name, count in counts.items()}
    check(ways, image, chosen.bins)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(chosen.repeats + 1):
        for name, (count, reference) in ways.items():
            times[name].append(timed(count, image, reference, chosen.bins)[0])
    record = {name: summary(values[1:]) for name, values in times.items()}
    for found in record.values():
        found["times_workbench"] = round(found["median_ms"] / record["workbench"]["median_ms"], 1)
    title = f"loss and gradient, 4 x 3 x {chosen.side}^2, {chosen.bins} bins"
    result = {title: record, "threads": torch.get_num_threads(), "repeats": chosen.repeats}
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
