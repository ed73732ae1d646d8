"""The spatial transformer against MONAI's Warp and bare grid_sample, and the ways to a local correlation.

Warping a volume of 96^3 forward and backward, in turns on the same field; equal results are checked first. Bare
grid_sample is given a finished grid, so it is the least that any transformer can take. The local correlation is timed
with the box filter as banded matrices, running sums, separable and whole mean pooling, and MONAI's loss.

    python benchmarks/warp.py [--repeats 15] [--threads 2]
"""

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from monai.losses import LocalNormalizedCrossCorrelationLoss
from monai.networks.blocks import Warp
from torch import Tensor
from torch.nn import functional as F

from workbench.losses import registration
from workbench.losses.registration import box, local_ncc
from workbench.models.warp import warp

WINDOW = 9


def field(side: int, size: float = 3.0) -> Tensor:
    """(1, 3, side, side, side): a smooth random field whose standard deviation is about `size` voxels."""
    coarse = torch.randn(1, 3, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    return size * F.interpolate(coarse, (side,) * 3, mode="trilinear", align_corners=True)


def finished_grid(flow: Tensor) -> Tensor:
    """(1, *S, 3): what grid_sample reads, normalised and with the last axis first."""
    axes = [torch.arange(side, dtype=flow.dtype) for side in flow.shape[2:]]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None] + flow
    sides = torch.tensor(flow.shape[2:], dtype=flow.dtype).view(1, 3, 1, 1, 1)
    return (2 * places / (sides - 1) - 1).flip(1).movedim(1, -1).contiguous()


def timed(run: Callable[[Tensor, Tensor], Tensor], image: Tensor, second: Tensor, weight: Tensor) -> tuple:
    """Milliseconds of one pass forward and backward, the result and the gradient of the second input."""
    image, second = image.clone().requires_grad_(), second.clone().requires_grad_()
    start = time.perf_counter()
    result = run(image, second)
    (result * weight).sum().backward() if result.ndim == 0 else result.backward(weight)
    return (time.perf_counter() - start) * 1e3, result.detach(), second.grad


def compare(ways: dict[str, tuple], image: Tensor, weight: Tensor, repeats: int) -> dict[str, dict[str, float]]:
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats + 2):
        for name, (run, second) in ways.items():
            times[name].append(timed(run, image, second, weight)[0])
    return {name: summary(values[2:]) for name, values in times.items()}


def summary(values: list[float]) -> dict[str, float]:
    found = {"median_ms": statistics.median(values), "min_ms": min(values), "max_ms": max(values)}
    return {key: round(value, 2) for key, value in found.items()}


def transformers(side: int, repeats: int) -> dict[str, dict[str, float]]:
    image, weight = (torch.rand(1, 1, side, side, side) for _ in range(2))
    flow, monai = field(side), Warp("bilinear", "border")
    bare = lambda volume, grid: F.grid_sample(volume, grid, padding_mode="border", align_corners=True)  # noqa: E731
    ways = {"workbench": (warp, flow), "monai": (monai, flow), "grid_sample": (bare, finished_grid(flow))}
    results = {name: timed(run, image, second, weight) for name, (run, second) in ways.items()}
    for name in ("monai", "grid_sample"):
        torch.testing.assert_close(results[name][1], results["workbench"][1], atol=1e-4, rtol=1e-3)
    apart = (results["monai"][2] - results["workbench"][2]).abs() > 1e-2
    assert apart.float().mean() < 1e-3  # the gradient jumps where a voxel is met exactly, and rounding decides
    return compare(ways, image, weight, repeats)


# ---------------------------------------------------------------- local correlation


def pooled(image: Tensor, window: int) -> Tensor:
    pool = F.avg_pool2d if image.ndim == 4 else F.avg_pool3d
    return pool(image, window, 1, window // 2)


def pooled_by_axis(image: Tensor, window: int) -> Tensor:
    dims = image.ndim - 2
    for axis in range(dims):
        kernel = [window if n == axis else 1 for n in range(dims)]
        pool = F.avg_pool2d if dims == 2 else F.avg_pool3d
        image = pool(image, kernel, 1, [k // 2 for k in kernel])
    return image


def running_sums(image: Tensor, window: int) -> Tensor:
    for axis in range(2, image.ndim):
        side, padding = image.shape[axis], [0, 0] * (image.ndim - 1 - axis) + [window // 2 + 1, window // 2]
        sums = F.pad(image, padding).cumsum(axis)
        image = (sums.narrow(axis, window, side) - sums.narrow(axis, 0, side)) / window
    return image


def with_filter(filtered: Callable[[Tensor, int], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    def run(moving: Tensor, fixed: Tensor) -> Tensor:
        registration.box = filtered
        try:
            return local_ncc(moving, fixed, WINDOW)
        finally:
            registration.box = box

    return run


def correlations(shape: tuple[int, ...], repeats: int) -> dict[str, dict[str, float]]:
    moving, fixed = torch.rand(shape), torch.rand(shape)
    dims = len(shape) - 2
    monai = LocalNormalizedCrossCorrelationLoss(dims, WINDOW, smooth_dr=registration.FLAT * WINDOW**dims)
    filters = {"banded matrix": box, "running sums": running_sums, "pooling by axis": pooled_by_axis, "pooling": pooled}
    ways = {name: (with_filter(filtered), fixed) for name, filtered in filters.items()} | {"monai": (monai, fixed)}
    weight = torch.ones(())
    results = {name: timed(run, moving, fixed, weight)[1] for name, (run, _) in ways.items()}
    for name, result in results.items():
        torch.testing.assert_close(result, results["banded matrix"], atol=1e-4, rtol=1e-3, msg=name)
    return compare(ways, moving, weight, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "warp.json")
    chosen = parser.parse_args()
    warnings.filterwarnings("ignore", message="monai.networks.blocks.Warp")
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    record: dict = {"warp, 96^3, forward and backward": transformers(96, chosen.repeats)}
    least = dict(record["warp, 96^3, forward and backward"]["grid_sample"])
    for ours in record["warp, 96^3, forward and backward"].values():
        ours["times_grid_sample"] = round(ours["median_ms"] / least["median_ms"], 2)
        ours["times_grid_sample_at_best"] = round(ours["min_ms"] / least["min_ms"], 2)
    shapes = {"4 x 64^2": (4, 1, 64, 64), "1 x 40x56x40": (1, 1, 40, 56, 40), "1 x 96^3": (1, 1, 96, 96, 96)}
    for name, shape in shapes.items():
        record[f"local correlation, window 9, {name}"] = correlations(shape, max(3, chosen.repeats // 3))
    record["threads"] = torch.get_num_threads()
    chosen.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
