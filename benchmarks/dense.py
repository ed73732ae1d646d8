"""Crossover-Net's 100 x 20 network on a 256 x 256 image: all pixels at once against patch by patch.

First both are compared on the same rows; then they are timed in turns. Patch by patch a strip of rows is timed, 64
patches a batch, and scaled to the whole image: every row costs the same. Peak memory is the process's, with the
dense evaluation first and the tiles as they are by default.

    python benchmarks/dense.py [--side 256] [--strip 4] [--repeats 5]
"""

import argparse
import json
import resource
import statistics
import time
from pathlib import Path

import torch

from workbench.methods.crossover import Config, Crossover


def spread(seconds: list[float]) -> dict[str, float]:
    return {
        "median_s": round(statistics.median(seconds), 3), "min_s": round(min(seconds), 3),
        "max_s": round(max(seconds), 3),
    }  # fmt: skip


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--strip", type=int, default=4, help="rows that are classified patch by patch")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "dense.json")
    chosen = parser.parse_args()
    torch.manual_seed(0)
    model, side = Crossover(Config(patch=100)).eval(), chosen.side
    for layer in (*model.net.stem, *model.net.tail, model.net.head):
        if hasattr(layer, "weight"):  # as large an output as a trained network's, so that equality means something
            torch.nn.init.kaiming_normal_(layer.weight)
    image = torch.rand(1, 1, side, side)

    def dense() -> torch.Tensor:
        return model.net.every_pixel(image, model.config.tile)

    def patchwise(first: int) -> torch.Tensor:
        return model.net.patchwise(image, range(first, first + chosen.strip))

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    whole = dense()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times: dict[str, list[float]] = {"dense": [], "patch_by_patch": []}
    gap = 0.0
    for repeat in range(chosen.repeats):
        start = time.perf_counter()
        whole = dense()
        times["dense"].append(time.perf_counter() - start)
        first = repeat * (side - chosen.strip) // max(chosen.repeats - 1, 1)
        start = time.perf_counter()
        rows = patchwise(first)
        times["patch_by_patch"].append((time.perf_counter() - start) * side / chosen.strip)
        gap = max(gap, (rows - whole[:, :, first : first + chosen.strip]).abs().max().item())
    assert gap < 1e-5 * whole.abs().max(), gap
    ratio = statistics.median(times["patch_by_patch"]) / statistics.median(times["dense"])
    record = {name: spread(values) for name, values in times.items()} | {
        "times_faster": round(ratio, 1), "largest_difference": float(f"{gap:.2g}"),
        "largest_logit": round(whole.abs().max().item(), 2), "side": side, "rows_patch_by_patch": chosen.strip,
        "memory_added_mb": round((peak - before) / 1024), "threads": torch.get_num_threads(),
    }  # fmt: skip
    chosen.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
