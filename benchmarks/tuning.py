"""What is tuned, alike for the method and every rival, at the tiny budget: rate and weight of the reconstruction.

Each arm is trained on the phantom's training images with every setting of its grid; the best mean foreground PSNR on
the validation images, with a seed that no reported comparison uses, wins. No test image is looked at. The rates are
the same for all, with WGAN's and ChromaGAN's own beside them; the weight of the colour (or cycle) loss is the card's
or ten times that.

    python benchmarks/tuning.py [--jobs 2]
"""

import argparse
import itertools
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

SEED = 101
RATES = (2e-4, 1e-3)
GRID: dict[str, dict[str, tuple[float, ...]]] = {
    "smcgan": {"lr": RATES, "color_weight": (100.0, 1000.0)},
    "wgan": {"lr": (5e-5, *RATES), "color_weight": (100.0, 1000.0)},
    "wgan_gp": {"lr": RATES, "color_weight": (100.0, 1000.0)},
    "chromagan": {"lr": (2e-5, *RATES), "color_weight": (1.0, 10.0)},
    "cyclegan": {"lr": RATES, "cycle_weight": (10.0, 100.0)},
    "gan": {"lr": (2e-4, 5e-4, 1e-3)},
    "dcgan": {"lr": (2e-4, 5e-4, 1e-3)},
}


def trial(job: tuple[str, dict[str, Any]]) -> float:
    """Validation foreground PSNR, dB, of one arm with one setting."""
    import torch

    from workbench import fit, method
    from workbench.data import anatomy

    name, change = job
    torch.set_num_threads(1)
    torch.manual_seed(method.seed_of(SEED))
    source, cls = anatomy.phantom(), method.method_class(name)
    model = cls(cls.Config(**{k: v for k, v in source.spec.items() if hasattr(cls.Config, k)}, **change))
    fit.fit(model, source.train, fit.Budget(valid_every=0), seed=SEED)
    return float(torch.cat([score["fg_psnr"] for _, _, score in fit.evaluate(model, source.valid)]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "tuning.json")
    chosen = parser.parse_args()
    jobs = [(n, dict(zip(g, values))) for n, g in GRID.items() for values in itertools.product(*g.values())]
    trials = []
    with ProcessPoolExecutor(chosen.jobs, mp_context=get_context("spawn")) as pool:
        for (name, change), psnr in zip(jobs, pool.map(trial, jobs)):
            trials.append({"arm": name, **change, "fg_psnr": round(psnr, 3)})
            print(trials[-1], flush=True)
    best = {name: max((t for t in trials if t["arm"] == name), key=lambda t: t["fg_psnr"]) for name in GRID}
    record = {"metric": "mean foreground PSNR on validation, dB", "seed": SEED, "best": best, "trials": trials}
    chosen.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
