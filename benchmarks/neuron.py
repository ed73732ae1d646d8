"""Cubes about traced nodes a second, all at once against one by one; and the memory that scoring a tree takes.

A cube is made ready for the network: cut from stack and trace, brightness from percentile to percentile. The ways are
`workbench.models.stacks` for many nodes at once and for one at a time, a loop in NumPy over padded stacks, and MONAI's
transforms. The cubes are compared first, then the ways are timed in turns. Memory is
the peak of a process of its own that scores a tree of so many nodes in one stack, and what that adds to loading it.

    python benchmarks/neuron.py [--patch 16] [--count 512] [--repeats 7] [--threads 2] [--nodes 10000 100000]
"""

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from monai.transforms import ScaleIntensityRangePercentiles, SpatialCrop
from torch import Tensor

from workbench.data.neuron.drawing import tube
from workbench.methods.neuronqc import Config, NeuronQC
from workbench.models import stacks

SIDE, STACKS, CHUNK = 64, 4, Config().chunk  # voxels and number of the stacks that cubes are cut from; cubes at once
SPACE = 256  # side of the stack that a whole tree is scored in, voxels

Way = Callable[[Tensor, Tensor, Tensor, int], Tensor]  # stacks, items, points and patch to cubes


def sample(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Stacks (B, 2, Z, Y, X) uint8 of noise and a trace, and items (P,) and points (P, 3) anywhere in them."""
    rng = np.random.default_rng(0)
    stack = rng.integers(0, 256, (STACKS, 2, SIDE, SIDE, SIDE), np.uint8)
    stack[:, 1] = 255 * (stack[:, 1] > 240)
    points = rng.uniform(0, SIDE - 1, (count, 3)).astype(np.float32)
    return torch.from_numpy(stack), torch.from_numpy(rng.integers(0, STACKS, count)), torch.from_numpy(points)


def looped(stack: Tensor, item: Tensor, points: Tensor, patch: int) -> Tensor:
    """Cubes (P, 2, S, S, S) cut and scaled node by node from padded stacks."""
    image, trace = padded(stack, patch // 2)
    made, ranks = [], [round((patch**3 - 1) * share) for share in stacks.PERCENTILES]
    for own, (z, y, x) in zip(item.tolist(), stacks.voxels(points).tolist()):
        place = (own, slice(z, z + patch), slice(y, y + patch), slice(x, x + patch))
        grey = image[place].astype(np.float32)
        low, high = np.partition(grey, ranks, axis=None)[ranks]
        grey = ((grey - low) / max(high - low, 1e-6)).clip(0, 1)
        made.append(np.stack([grey, (trace[place] > 0).astype(np.float32)]))
    return torch.from_numpy(np.stack(made))


@functools.cache
def padded(stack: Tensor, rim: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and traces with what lies beyond the border, made once: its time is not counted."""
    around = [(0, 0), *[(rim, rim)] * 3]
    return np.pad(stack[:, 0].numpy(), around, mode="edge"), np.pad(stack[:, 1].numpy(), around)


def monai(stack: Tensor, item: Tensor, points: Tensor, patch: int) -> Tensor:
    """The same by MONAI's transforms from padded stacks."""
    image, trace = (torch.from_numpy(part)[:, None] for part in padded(stack, patch // 2))
    low, high = (100 * share for share in stacks.PERCENTILES)
    scale, made = ScaleIntensityRangePercentiles(low, high, 0, 1, clip=True), []
    for own, point in zip(item.tolist(), stacks.voxels(points) + patch // 2):
        crop = SpatialCrop(roi_center=point, roi_size=(patch,) * 3)
        made.append(torch.cat([scale(crop(image[own]).float()), (crop(trace[own]) > 0).float()]).as_tensor())
    return torch.stack(made)


def batched(stack: Tensor, item: Tensor, points: Tensor, patch: int) -> Tensor:
    return stacks.prepared(stacks.cubes(stack, item, points, torch.ones(len(stack), 3), patch), patch, 1)


def one_by_one(stack: Tensor, item: Tensor, points: Tensor, patch: int) -> Tensor:
    return torch.cat([batched(stack, item[n : n + 1], points[n : n + 1], patch) for n in range(len(item))])


WAYS: dict[str, Way] = {"batched": batched, "one by one": one_by_one, "loop in NumPy": looped, "MONAI": monai}


def rate(way: Way, stack: Tensor, item: Tensor, points: Tensor, patch: int) -> float:
    """Cubes a second, a chunk after the other as a network would take them."""
    start = time.perf_counter()
    for own, some in zip(item.split(CHUNK), points.split(CHUNK)):
        way(stack, own, some, patch)
    return len(item) / (time.perf_counter() - start)


def patches(patch: int, count: int, repeats: int) -> dict:
    """Cubes a second of each way, and how many times as many the batched one makes."""
    given = sample(count)
    made = {name: way(*given, patch) for name, way in WAYS.items()}
    for name, cubes in made.items():
        far = (cubes - made["batched"]).abs().max().item()
        if far > (0.01 if name == "MONAI" else 1e-6):  # its percentiles may lie between two bytes
            raise SystemExit(f"{name}: cubes differ by {far:.3g}")
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(repeats):
        for name, way in WAYS.items():
            rates[name].append(rate(way, *given, patch))
    record = {f"{name}, cubes a second": spread(values) for name, values in rates.items()}
    for name in list(WAYS)[1:]:
        record[f"batched : {name}"] = spread([a / b for a, b in zip(rates["batched"], rates[name])])
    return record


def spread(values: list[float]) -> dict[str, float]:
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, 2 if value < 1000 else None) for name, value in found.items()}


# ---------------------------------------------------------------- memory


def tree(count: int) -> tuple[np.ndarray, np.ndarray]:
    """A random tree of points (N, 3), two voxels apart, inside the stack, and parents (N,)."""
    rng = np.random.default_rng(0)
    points, parent = np.full((count, 3), SPACE / 2), np.arange(-1, count - 1)
    parent[50::50] = rng.integers(0, np.arange(50, count, 50))
    steps = rng.standard_normal((count, 3))
    steps *= 2 / np.linalg.norm(steps, axis=1, keepdims=True)
    for node in range(1, count):
        there = points[parent[node]] + steps[node]
        points[node] = np.where((there < 0) | (there > SPACE - 1), points[parent[node]] - steps[node], there)
    return points, parent


def resident(kind: str) -> float:
    """Memory of this process in MB as Linux counts it: VmRSS now, VmHWM at its highest since `forget_peak`."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind)]
    return int(line.split()[1]) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


@torch.inference_mode()
def score_tree(count: int, patch: int) -> dict:
    """Peak memory, MB, of this process while it scores one tree, what of that scoring added, and the speed."""
    points, parent = tree(count)
    rng = np.random.default_rng(0)
    stack = np.empty((1, 1, 2, SPACE, SPACE, SPACE), np.uint8)
    for page in stack[0, 0, 0]:
        page[:] = rng.integers(0, 256, page.shape, np.uint8)
    stack[0, 0, 1] = 255 * np.uint8(tube(points[:, ::-1], parent, (SPACE,) * 3, np.ones(3), 1.5))
    model = NeuronQC(Config(patch=patch)).eval()
    batch = {
        "stack": torch.from_numpy(stack), "nodes": torch.from_numpy(points).float()[None, None],
        "parent": torch.from_numpy(parent)[None, None], "spacing": torch.ones(1, 3),
    }  # fmt: skip
    few = {key: batch[key][:, :, : 2 * model.config.chunk] for key in ("nodes", "parent")}
    model.predict(batch | few)
    forget_peak()
    before, start = resident("VmRSS"), time.perf_counter()
    score = model.predict(batch)["score"]
    seconds = time.perf_counter() - start
    if score.shape != (1, 1, count) or not torch.isfinite(score).all():
        raise SystemExit("a score that is none")
    return {
        "peak_mb": round(resident("VmHWM")), "added_mb": round(resident("VmHWM") - before, 1),
        "nodes_a_second": round(count / seconds),
    }  # fmt: skip


def memory(counts: list[int], patch: int) -> dict:
    """`score_tree` of each size in a process of its own."""
    record = {}
    for count in counts:
        command = [sys.executable, __file__, "--patch", str(patch), "--score", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        record[f"{count} nodes"] = json.loads(done.stdout)
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--patch", type=int, default=16)
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--nodes", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--score", type=int, help="score one tree of so many nodes and print its memory")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "neuron.json")
    parser.add_argument("--dry", action="store_true", help="print the results without writing them")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.score:
        print(json.dumps(score_tree(chosen.score, chosen.patch)))
        return
    record = {"patches": patches(chosen.patch, chosen.count, chosen.repeats)}
    record["scoring a tree"] = memory(chosen.nodes, chosen.patch)
    record |= {"patch": chosen.patch, "cubes": chosen.count, "chunk": CHUNK, "threads": torch.get_num_threads()}
    if not chosen.dry:
        chosen.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
