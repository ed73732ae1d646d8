"""Batches of volumes held in memory: Cases behind the loop's own loader, and MONAI's CacheDataset and DataLoader.

All three serve the same phantoms in the same order: image, label, atlas, atlas label and spacing. Every batch is
compared first. They are timed in turns on one thread, one pass over all volumes each. MONAI is run as it comes, with
the metadata that its tensors carry, and without. Beside the items a second stands what each keeps in memory.

    python benchmarks/volumes.py [--size 64] [--count 24] [--repeats 25]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from monai.data import CacheDataset, DataLoader, set_track_meta
from monai.transforms import ScaleIntensityRanged
from torch import Tensor

from workbench import fit
from workbench.data import Cases, anatomy3d

BATCH = 4
Pass = Callable[[], Iterable[dict[str, Tensor]]]


def cached(part: Cases, order: list[int], track: bool) -> CacheDataset:
    """MONAI's cache of the items in that order: greys scaled to [0, 1] once, the atlas shared between the items."""
    set_track_meta(track)
    scale = ScaleIntensityRanged(["image", "atlas"], 0, 255, 0, 1)
    items = [{key: tensor[item] for key, tensor in part.tensors.items()} for item in order]
    return CacheDataset(items, scale, num_workers=1, progress=False)


def monai_pass(kept: CacheDataset, track: bool) -> Pass:
    def batches() -> Iterable[dict[str, Tensor]]:
        set_track_meta(track)
        return DataLoader(kept, batch_size=BATCH, shuffle=False, num_workers=0)

    return batches


def held(tensors: Iterable[Tensor]) -> int:
    """Bytes of distinct storage."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def timed(batches: Pass) -> float:
    start = time.perf_counter()
    for batch in batches():
        batch["image"]  # handed over, as a training step would get it
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "volumes.json")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    options = anatomy3d.Options(dims=3, size=chosen.size, train=chosen.count, valid=1, test=1)
    part, budget = anatomy3d.phantom(options).train, fit.Budget(batch=BATCH)
    order = fit.order(len(part), 0, 1).tolist()
    caches = {
        "CacheDataset": (cached(part, order, True), True),
        "CacheDataset, no metadata": (cached(part, order, False), False),
    }
    ways: dict[str, Pass] = {"Cases": lambda: fit.loader(part, budget, seed=0, epoch=1, skip=0)}
    ways |= {name: monai_pass(*cache) for name, cache in caches.items()}
    for ours, *others in zip(*(batches() for batches in ways.values()), strict=True):
        for other in others:
            assert ours.keys() == set(other) & ours.keys()
            for key, value in ours.items():
                torch.testing.assert_close(torch.as_tensor(other[key]).as_subclass(Tensor), value, atol=1e-6, rtol=0)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(chosen.repeats + 1):
        for name, batches in ways.items():
            seconds = timed(batches)
            if repeat:
                times[name].append(chosen.count / seconds)
    memory = {"Cases": held(part.tensors.values())}
    memory |= {
        name: held(v for item in cache for v in item.values() if isinstance(v, Tensor))
        for name, (cache, _) in caches.items()
    }
    record = {
        name: {
            "median_items_s": round(statistics.median(v), 1), "min_items_s": round(min(v), 1),
            "max_items_s": round(max(v), 1), "held_mb": round(memory[name] / 2**20, 1),
        }
        for name, v in times.items()
    }  # fmt: skip
    for name in caches:
        ratios = [a / b for a, b in zip(times["Cases"], times[name])]
        record[f"Cases : {name}"] = {
            "median": round(statistics.median(ratios), 2), "min": round(min(ratios), 2), "max": round(max(ratios), 2)
        }  # fmt: skip
    record |= {"volume": [chosen.size] * 3, "volumes": chosen.count, "batch": BATCH, "threads": torch.get_num_threads()}
    chosen.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
