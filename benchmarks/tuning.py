"""The one setting that is tuned, for the method and every rival alike: Adam's (or RMSprop's) rate at the tiny budget.

Each arm is trained on the phantom's training images with every rate of one grid and its card's own; the best mean foreground
PSNR on the validation images, with a seed that no reported comparison uses, wins. No test image is looked at.

    python benchmarks/tuning.py [--jobs 2]
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

GRID = (2e-4, 5e-4, 1e-3, 2e-3)
SEEDS = (101,)


def trial(job: tuple[str, float, int]) -> tuple[str, float, float]:
    """Validation foreground PSNR, dB, of one arm with one rate and one seed."""
    import torch

    from workbench import fit, method
    from workbench.data import anatomy

    name, lr, seed = job
    torch.set_num_threads(1)
    torch.manual_seed(method.seed_of(seed))
    source = anatomy.phantom()
    cls = method.method_class(name)
    known = {key: value for key, value in source.spec.items() if hasattr(cls.Config, key)}
    model = cls(cls.Config(**known, lr=lr))
    loop = fit.Loop(model, source.train, fit.Budget(), seed, None)
    fit.fit(model, source.train, fit.Budget(valid_every=0), seed=seed)
    return name, lr, fit.validate(loop, source.valid)["valid/fg_psnr"]


def main() -> None:
    from workbench import method

    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "tuning.json")
    chosen = parser.parse_args()
    names = ("smcgan", *method.module("smcgan").RIVALS)
    own = {name: method.module(name).PAPER.get("lr", method.method_class(name).Config.lr) for name in names}
    jobs = [(name, lr, seed) for name in names for lr in sorted({*GRID, own[name]}) for seed in SEEDS]
    results: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    with ProcessPoolExecutor(chosen.jobs, mp_context=get_context("spawn")) as pool:
        for name, lr, psnr in pool.map(trial, jobs):
            results[name].setdefault(f"{lr:g}", []).append(round(psnr, 3))
            print(name, lr, round(psnr, 2), flush=True)
    best = {name: max(rates, key=lambda lr, rates=rates: sum(rates[lr])) for name, rates in results.items()}
    record = {"metric": "valid/fg_psnr", "seeds": SEEDS, "rates": results, "best": best}
    chosen.out.write_text(json.dumps(record, indent=1) + "\n")
    print(best)


if __name__ == "__main__":
    main()
