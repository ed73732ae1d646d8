"""The loop: resuming after any end, equal results however a batch is spread, stopping, saving, refusing."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import FLOAT32, small_data, small_method
from torch import nn

from workbench import device, fit, method, runs
from workbench.config import Config
from workbench.errors import InvalidParameter, InvalidRun
from workbench.fit import Budget, Stopped

CHILD = """
import sys, torch
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import FLOAT32, small_data, small_method
import dataclasses
from workbench import fit
torch.set_num_threads(1)
budget = dataclasses.replace(FLOAT32, epochs=4, save_every=0.0)
model = small_method({name!r})
def watch(told):
    print(told.total, flush=True)
fit.fit(model, small_data("anatomy").train, budget, seed=5, folder=Path(sys.argv[1]), watch=watch)
torch.save(model.state_dict(), Path(sys.argv[1]) / "end.pt")
"""


def child(name: str, folder: Path) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    code = CHILD.format(tests=str(Path(__file__).parent), name=name)
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)


def end(folder: Path) -> dict:
    return torch.load(folder / "end.pt", weights_only=True)


def lines(folder: Path) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "time"} for row in rows]


@pytest.mark.parametrize("name", ["smcgan", "cyclegan"])
def test_killed_at_random_moments_and_resumed_is_bit_equal(name, tmp_path):
    whole = child(name, tmp_path / "whole")
    assert whole.communicate()[0].split() == [str(n) for n in range(1, 9)] and whole.returncode == 0
    rng, killed, seen = random.Random(name), tmp_path / "killed", []
    for _ in range(3):
        process, patience = child(name, killed), rng.randint(1, 3)
        for line in process.stdout:
            seen.append(int(line))
            patience -= 1
            if patience == 0:
                time.sleep(rng.uniform(0, 0.05))  # somewhere inside a step or a save
                process.kill()
                break
        process.communicate()
    last = child(name, killed)
    last.communicate()
    assert last.returncode == 0 and len(seen) >= 3
    one, two = end(tmp_path / "whole"), end(killed)
    for key in one:
        assert torch.equal(one[key], two[key]) if isinstance(one[key], torch.Tensor) else True, key
    assert lines(tmp_path / "whole") == lines(killed)


def close(first: nn.Module, second: nn.Module, tolerance: float) -> None:
    one, two = first.state_dict(), second.state_dict()
    for key in one:
        torch.testing.assert_close(
            one[key], two[key], atol=tolerance, rtol=tolerance, msg=lambda m, key=key: f"{key}: {m}"
        )


@pytest.mark.parametrize("name", ["smcgan", "wgan_gp", "wgan"])
def test_accumulation_equals_the_big_batch(name):
    train = small_data("anatomy").train
    whole = fit.fit(small_method(name), train, FLOAT32)
    in_parts = fit.fit(small_method(name), train, Budget(**{**vars(FLOAT32), "accumulate": 2}))
    close(whole, in_parts, 2e-4)


def process_of_two(rank: int, port: int, folder: str) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    with device.processes():
        model = fit.fit(small_method("smcgan"), small_data("anatomy").train, FLOAT32, folder=Path(folder))
        torch.save(model.state_dict(), Path(folder) / f"rank{rank}.pt")


def test_two_processes_equal_one(tmp_path):
    whole = fit.fit(small_method("smcgan"), small_data("anatomy").train, FLOAT32, folder=tmp_path / "..")
    port = 20000 + os.getpid() % 20000
    torch.multiprocessing.spawn(process_of_two, (port, str(tmp_path)), nprocs=2)
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    for key, value in whole.state_dict().items():
        assert torch.equal(ranks[0][key], ranks[1][key]), key
        torch.testing.assert_close(ranks[0][key], value, atol=2e-4, rtol=2e-4)


def test_ctrl_c_stops_between_steps_and_the_run_resumes(tmp_path):
    train, before = small_data("anatomy").train, signal.getsignal(signal.SIGINT)

    def interrupt(told):
        if told.total == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped, match="resumes"):
        fit.fit(small_method("smcgan"), train, FLOAT32, folder=tmp_path, watch=interrupt)
    assert signal.getsignal(signal.SIGINT) is before
    steps = []
    fit.fit(small_method("smcgan"), train, FLOAT32, folder=tmp_path, watch=lambda told: steps.append(told.total))
    assert steps == [3, 4]


def test_a_full_disk_is_told_and_the_last_checkpoint_stands(tmp_path, monkeypatch):
    train, budget = small_data("anatomy").train, Budget(**{**vars(FLOAT32), "save_every": 0.0})
    with pytest.raises(Stopped):
        fit.fit(small_method("gan"), train, budget, folder=tmp_path, watch=lambda told: told.total == 1)
    before = (tmp_path / "state.pt").read_bytes()

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InvalidRun, match=r"No space left on device.*free some space"):
            fit.fit(small_method("gan"), train, budget, folder=tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"state.pt", "metrics.jsonl"}, "no temporary file is left"
    fit.fit(small_method("gan"), train, budget, folder=tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"\x80\x02garbage"])
def test_a_damaged_checkpoint_is_named(content, tmp_path):
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(InvalidRun, match=r"state\.pt.*damaged.*delete this file"):
        fit.fit(small_method("gan"), small_data("anatomy").train, FLOAT32, folder=tmp_path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"batch": 3, "accumulate": 2}, "batch: expected a multiple of processes x accumulate = 2, found 3"),
        ({"device": "cuda:7"}, "device: expected auto, cpu, or a device of this machine"),
        ({"device": "graphics"}, "use device=auto"),
    ],
)
def test_settings_that_cannot_work_are_refused(change, match):
    with pytest.raises(InvalidParameter, match=match):
        fit.fit(small_method("gan"), small_data("anatomy").train, Budget(**{**vars(FLOAT32), **change}))


class Line(method.Method):
    """y = w x with a loss that counts the steps; small enough to calculate by hand."""

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__(Config())
        self.weight, self.rate = nn.Parameter(torch.ones(1)), rate

    def optimizers(self):
        return {"line": torch.optim.SGD([self.weight], self.rate)}

    def updates(self, batch):
        yield "line", (self.weight * batch["x"]).mean(), {}

    def predict(self, batch):
        return {"score": self.weight * batch["x"]}

    def score(self, batch, prediction):
        return {"value": prediction["score"].flatten()}


class Ones(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, item):
        return {"x": torch.ones(1)}


PLAIN = Budget(epochs=2, batch=2, precision="float32", valid_every=0)  # 4 steps, each lowers the weight by the rate


def test_schedules_by_hand():
    def left(**change):
        return fit.fit(Line(), Ones(), Budget(**{**vars(PLAIN), **change})).weight.item()

    assert left() == pytest.approx(1 - 0.5 * 4)
    assert left(schedule="linear") == pytest.approx(1 - 0.5 * (1 + 1 + 1 + 0.5))
    assert left(schedule="cosine") == pytest.approx(1 - 0.5 * (1 + 0.853553 + 0.5 + 0.146447), abs=1e-5)
    assert left(schedule="quarter") == pytest.approx(1 - 0.5 * (1 + 3 * 0.1))
    assert left(clip=0.1) == pytest.approx(1 - 0.5 * 0.1 * 4, abs=1e-5)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "steps", "quarter"])
def test_a_checkpoint_of_any_schedule_is_taken_up(schedule, tmp_path):
    budget = Budget(**{**vars(PLAIN), "schedule": schedule})
    with pytest.raises(Stopped):
        fit.fit(Line(), Ones(), budget, folder=tmp_path, watch=lambda told: told.total == 3)
    assert torch.equal(fit.fit(Line(), Ones(), budget, folder=tmp_path).weight, fit.fit(Line(), Ones(), budget).weight)


def test_averaged_weights_are_what_is_left():
    values = [0.5, 0.0, -0.5, -1.0]  # after each step; the first is taken as it is
    expected = values[0]
    for value in values[1:]:
        expected = 0.75 * expected + 0.25 * value
    assert fit.fit(Line(), Ones(), Budget(**{**vars(PLAIN), "ema": 0.75})).weight.item() == pytest.approx(expected)


def test_losses_that_are_not_finite_are_told():
    with pytest.raises(InvalidParameter, match=r"finite losses.*lower lr"):
        fit.fit(Line(rate=float("inf")), Ones(), PLAIN)


def test_gradients_reach_only_the_side_that_is_named():
    model = small_method("smcgan")
    body = model.updates(small_data("anatomy").train.__getitems__(range(4)))
    optimizers = model.optimizers()
    for side, loss, _ in body:
        torch.autograd.backward(loss, inputs=fit.parameters(optimizers[side]))
        others = [p for name, o in optimizers.items() if name != side for p in fit.parameters(o)]
        assert all(p.grad is None for p in others)
        optimizers[side].zero_grad()


def test_every_item_is_seen_once_an_epoch_in_another_order():
    first, second = (fit.order(10, seed=0, epoch=epoch).tolist() for epoch in (1, 2))
    assert sorted(first) == sorted(second) == list(range(10)) and first != second
    assert first == fit.order(10, seed=0, epoch=1).tolist()


def test_workers_read_the_same(tmp_path):
    train = small_data("anatomy").train
    alone = fit.fit(small_method("gan"), train, Budget(**{**vars(FLOAT32), "epochs": 1}))
    helped = fit.fit(small_method("gan"), train, Budget(**{**vars(FLOAT32), "epochs": 1, "workers": 1}))
    close(alone, helped, 0.0)


def test_metrics_of_a_resumed_run_have_no_line_twice(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "time": 1.0}\n{"step": 2, "time": 2.0}\nnonsense\n{"step": 3, "time"')
    log = runs.Log(path, step=1)
    log.write(step=2, epoch=1)
    log.close()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2] and rows[1]["time"] >= 1.0


def test_penalised_critics_are_not_compiled(monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda module: compiled.append(module))
    model = small_method("smcgan")
    fit.Loop(model, small_data("anatomy").train, Budget(**{**vars(FLOAT32), "compile": True}), 0, None)
    assert compiled == [model.generator]


# ---------------------------------------------------------------- the best weights


class Bowl(Line):
    """Validation values 0.5, 0, -0.5, -1, ... fall; `far` is their distance from -0.5: lowest after three steps."""

    def score(self, batch, prediction):
        value = prediction["score"].flatten()
        return {"value": value, "far": (value + 0.5).abs(), "never": value * torch.nan}


EACH = Budget(epochs=6, batch=4, precision="float32", valid_every=1)  # a step an epoch: 0.5, 0, -0.5, -1, -1.5, -2


def after(**change) -> float:
    return fit.fit(Bowl(), Ones(), Budget(**{**vars(EACH), **change}), valid=Ones()).weight.item()


def test_best_weights_on_the_validation_images_are_kept():
    assert after() == pytest.approx(-2.0), "the last"
    assert after(best="value") == pytest.approx(0.5) and after(best="-value") == pytest.approx(-2.0)
    assert after(best="-far") == pytest.approx(-0.5)
    assert after(best="-far", valid_every=2) == pytest.approx(0.0), "of 0, -1 and -2; the first of two alike"
    assert after(best="-value", valid_every=4) == pytest.approx(-2.0), "the last epoch is looked at too"
    assert after(best="-far", ema=0.5) == pytest.approx(-0.5625), "of the averages 0.5, 0.25, -0.125, -0.5625, ..."


def test_training_ends_when_patience_is_lost_and_no_step_is_taken_after(tmp_path):
    seen = []
    budget = Budget(**{**vars(EACH), "best": "-far", "patience": 2})
    model = fit.fit(Bowl(), Ones(), budget, valid=Ones(), folder=tmp_path, watch=lambda told: seen.append(told))
    assert model.weight.item() == pytest.approx(-0.5) and len(lines(tmp_path)) == len(seen) == 5
    assert seen[-1].epochs * seen[-1].steps == seen[-1].total, "the bar is full"
    again = fit.fit(Bowl(), Ones(), budget, valid=Ones(), folder=tmp_path, watch=lambda told: seen.append(told))
    assert again.weight.item() == pytest.approx(-0.5) and len(seen) == 5, "it has ended"


@pytest.mark.parametrize("stop", [1, 3, 4])
def test_best_weights_survive_a_stop(stop, tmp_path):
    budget = Budget(**{**vars(EACH), "best": "-far", "patience": 2})
    with pytest.raises(Stopped):
        fit.fit(Bowl(), Ones(), budget, valid=Ones(), folder=tmp_path, watch=lambda told: told.total == stop)
    model = fit.fit(Bowl(), Ones(), budget, valid=Ones(), folder=tmp_path)
    assert model.weight.item() == pytest.approx(-0.5) and len(lines(tmp_path)) == 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"best": "fare"}, "best: expected one of far, value, found 'fare'; did you mean far"),
        ({"best": "never"}, "best: expected one of far, value"),
        ({"best": "far", "valid_every": 0}, "validation images that are looked at, found none; set valid_every"),
        ({"patience": 3}, "patience: expected a metric to wait for, found none; name one, such as best=auc"),
    ],
)
def test_a_best_that_cannot_be_found_is_refused(change, words):
    with pytest.raises(InvalidParameter, match=words):
        after(**change)
