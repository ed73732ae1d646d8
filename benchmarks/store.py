"""A store against reading PNG files, in images a second; then 100,000 images: seconds to start, memory while reading.

First both ways must give the same pixels. Then they take turns: batches in a random order out of the store, out of the
files as the loaders read them, and out of the files with Pillow alone. The large store is written as `pack` writes one,
but of noise; a fresh process opens it as radiographs and reads it twice in random order.

    python benchmarks/store.py [--images 300] [--side 1024] [--size 224] [--repeats 9] [--large 100000]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from workbench.data import io
from workbench.data.asoct.halves import resized
from workbench.data.store import Packing, Store, folder, pack
from workbench.data.store.listing import indexed

BATCH, SMALL = 32, 64  # images a batch; side of the images of the large store
READ = """
import json, sys, time
import numpy as np, psutil, torch
from workbench.data import open_data
import workbench.data.radiograph
begun, used = time.perf_counter(), time.process_time()
data = open_data("radiograph", root=sys.argv[1], part="unlabelled", size=64, train=10**9, valid=100, test=100)
data.train.__getitems__([0])
start, used = time.perf_counter() - begun, time.process_time() - used
memory, rates = [psutil.Process().memory_info().rss / 1e6], []
for epoch in (0, 1):
    order, begun = np.random.default_rng(epoch).permutation(len(data.train)), time.perf_counter()
    for first in range(0, len(order), 256):
        data.train.__getitems__(order[first : first + 256])
    rates.append(len(order) / (time.perf_counter() - begun))
    memory.append(psutil.Process().memory_info().rss / 1e6)
told = {"images": len(data.train), "start_s": start, "start_cpu_s": used, "rss_mb": memory, "images_per_s": rates}
print(json.dumps({k: [round(x, 1) for x in v] if isinstance(v, list) else round(v, 3) for k, v in told.items()}))
"""


def drawn(root: Path, count: int, side: int) -> Path:
    """PNG files that compress about as radiographs do: smooth, with a little noise."""
    root.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12)).astype(np.uint8)).resize((side, side), Image.BICUBIC)
        image = np.asarray(coarse, np.float32) + rng.normal(0, 2, (side, side))
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / f"{number:05d}.png")
    return root


def large(root: Path, count: int) -> Path:
    """A store of noise, written without decoding anything."""
    root.mkdir()
    header = folder.Header(count, 1, SMALL, "auto", "", done=True)
    pixels = np.lib.format.open_memmap(root / folder.PIXELS, "w+", np.uint8, header.shape)
    rng, rows = np.random.default_rng(0), np.zeros(count, folder.ROW)
    for first in range(0, count, 10000):
        pixels[first : first + 10000] = rng.integers(0, 256, pixels[first : first + 10000].shape, np.uint8)
    rows["state"] = folder.GOOD
    np.save(root / folder.ROWS, rows)
    names = [f"{number // 3:08d}_{number % 3:03d}.png" for number in range(count)]
    index = folder.write_index(root, indexed(names, [root / name for name in names], {}))
    folder.write_header(root, folder.Header(**vars(header) | {"index": index}))
    return root


def plain(path: Path, size: int) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.resize((size, size), Image.BILINEAR))


def turns(ways: dict[str, Callable[[np.ndarray], object]], count: int, repeats: int) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {name: [] for name in ways}
    rng = np.random.default_rng(0)
    for _ in range(repeats + 1):
        chosen = rng.permutation(count)[:BATCH]
        for name, read in ways.items():
            start = time.perf_counter()
            read(chosen)
            rates[name].append(BATCH / (time.perf_counter() - start))
    return {name: values[1:] for name, values in rates.items()}  # the first turn warms up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, value in (("images", 300), ("side", 1024), ("size", 224), ("repeats", 9), ("large", 100_000)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "store.json")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        source = drawn(Path(place) / "files", chosen.images, chosen.side)
        files, start = sorted(source.iterdir()), time.perf_counter()
        pack(source, Path(place) / "store", Packing(size=chosen.size))
        record: dict[str, object] = {
            "pack, one process": {"images_per_s": chosen.images / (time.perf_counter() - start)}
        }
        store = Store(Path(place) / "store")

        def read(items: np.ndarray) -> torch.Tensor:
            made = np.stack([resized(io.read_image(files[i], color=False), chosen.size)[None] for i in items])
            return torch.from_numpy(made).float().div_(255)

        torch.testing.assert_close(store.__getitems__(range(8))["image"], read(np.arange(8)), atol=0, rtol=0)
        ways = {
            "store": lambda items: store.__getitems__(items),
            "PNG files": read,
            "PNG files, Pillow alone": lambda items: np.stack([plain(files[i], chosen.size) for i in items]),
        }
        rates = turns(ways, chosen.images, chosen.repeats)
        record |= {
            name: {"images_per_s": statistics.median(v), "min": min(v), "max": max(v)} for name, v in rates.items()
        }
        ratios = [a / b for a, b in zip(rates["store"], rates["PNG files"])]
        record["ratio"] = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
        command = [sys.executable, "-c", READ, str(large(Path(place) / "large", chosen.large))]
        record[f"{chosen.large} images of {SMALL} px"] = json.loads(subprocess.check_output(command, text=True))
    record |= {name: getattr(chosen, name) for name in ("images", "side", "size")} | {
        "threads": torch.get_num_threads()
    }
    text = json.dumps(json.loads(json.dumps(record), parse_float=lambda x: round(float(x), 3)), indent=1)
    chosen.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
