"""The only training loop. It knows the Method contract and nothing of any method.

Everything random derives from (seed, epoch, step), so a run that was killed anywhere and resumed from its last
checkpoint ends bit-equal, on CPU, to one that was not; and a batch spread over processes or accumulation gets the
numbers of the whole one.
"""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, distributed
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset, default_collate

from workbench import runs
from workbench.best import Best
from workbench.config import Config, Count, Fraction, Natural, Weight
from workbench.device import find_device, find_precision, rank, world
from workbench.errors import InvalidParameter, InvalidRun
from workbench.method import Batch, Method, Stream, seed_of
from workbench.progress import Progress, Watch


@dataclass(frozen=True)
class Budget(Config):
    epochs: Count = 15  # passes over the training images
    batch: Count = 4  # items a step, over all processes and accumulation
    schedule: Literal["constant", "linear", "cosine", "steps", "quarter"] = "constant"  # of rates; linear: from half on
    clip: Weight = 0.0  # largest gradient norm; 0 is no clipping
    accumulate: Count = 1  # parts that a batch is worked through in, to save memory
    ema: Fraction = 0.0  # decay of the averaged weights that are evaluated in place of the last; 0 is off
    precision: Literal["auto", "float32", "bf16"] = "auto"  # auto is bf16 where the hardware has it, float32 otherwise
    device: str = "auto"  # auto is cuda where there is one, then mps, then cpu
    channels_last: bool = True  # memory layout of images; benchmarks/precision.py measures it
    compile: bool = False  # torch.compile the parts that allow it
    workers: Natural = 0  # processes that read data; 0 reads in this one
    valid_every: Natural = 5  # epochs between looks at the validation images; 0 is never
    best: str = ""  # validation metric whose best weights are kept (-mae: the lowest); where empty the last are
    patience: Natural = 0  # looks at the validation images without a better `best` that end the training; 0 is never
    log_every: Count = 6  # steps that are averaged into one line of metrics.jsonl
    save_every: Weight = 30.0  # seconds between checkpoints; 0 is after every step


STEPS = (1 / 2, 2 / 3, 5 / 6)  # parts of the training after which the schedule of that name divides rates by ten
ASIDE = ("device", "workers", "save_every")  # settings that do not change a result and so not a run's id
OPTIONAL = ("best", "patience")  # and those that are part of it only where they are used


class Stopped(KeyboardInterrupt):
    """Stopped by Ctrl-C, the Stop button or a scheduler; the checkpoint is saved and the run can be resumed."""

    def _render_traceback_(self) -> list[str]:  # what IPython shows in place of a traceback
        return [str(self)]


# ---------------------------------------------------------------- data


def order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of the items in one epoch."""
    return np.random.default_rng(seed_of(seed, epoch)).permutation(count)


def parts(items: np.ndarray, budget: Budget) -> list[list[int]]:
    """The items of one batch that fall to this process, cut into its parts of the accumulation."""
    share = len(items) // (world() * budget.accumulate)
    first = rank() * budget.accumulate
    return [items[(first + n) * share : (first + n + 1) * share].tolist() for n in range(budget.accumulate)]


def batch_size(train: Dataset, budget: Budget) -> int:
    size, pieces = min(budget.batch, len(train)), world() * budget.accumulate
    if size == 0 or size % pieces:
        expected = f"a multiple of processes x accumulate = {pieces}"
        remedy = "change batch or accumulate, or give more training images"
        raise InvalidParameter("batch", expected, f"{size} ({len(train)} training images)", remedy)
    return size


def loader(train: Dataset, budget: Budget, seed: int, epoch: int, skip: int) -> Iterator[Batch]:
    """The parts of every batch of an epoch in turn, from batch `skip` on; the incomplete last batch is left out."""
    size, items = batch_size(train, budget), order(len(train), seed, epoch)
    batches = [items[start : start + size] for start in range(0, len(items) - size + 1, size)]
    chosen = [part for batch in batches[skip:] for part in parts(batch, budget)]
    together = (lambda batch: batch) if hasattr(train, "__getitems__") else default_collate
    return iter(DataLoader(train, batch_sampler=chosen, collate_fn=together, num_workers=budget.workers))


def move(batch: Batch, device: torch.device, channels_last: bool) -> Batch:
    layout = {"memory_format": torch.channels_last} if channels_last else {}
    return {k: t.to(device, non_blocking=True, **(layout if t.ndim == 4 else {})) for k, t in batch.items()}


# ---------------------------------------------------------------- one step


def parameters(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]


def step(
    method: Method, optimizers: dict[str, Optimizer], batches: list[Batch], seed: int, budget: Budget, bf16: bool
) -> dict[str, Tensor]:
    """All updates of one step, and the logs' means.

    The parts of an accumulated batch go through the method's body abreast: each adds its gradients, then the optimizer
    steps, then all bodies resume. Gradients reach the parameters of the named optimizer only.
    """
    size = len(next(iter(batches[0].values())))
    first = rank() * len(batches)
    streams = [Stream(seed, (first + n) * size, size * len(batches) * world()) for n in range(len(batches))]
    bodies, logs = [method.updates(batch) for batch in batches], {}
    while True:
        name = None
        for body, stream in zip(bodies, streams, strict=True):
            method.stream = stream
            with torch.autocast(method.device.type, torch.bfloat16, enabled=bf16):
                update = next(body, None)
            if update is None:
                continue
            if name is None:
                targets = parameters(optimizers[update[0]])
                optimizers[update[0]].zero_grad(set_to_none=True)
            name, loss, extra = update
            part = loss / len(batches) if len(batches) > 1 else loss
            torch.autograd.backward(part, inputs=targets if len(optimizers) > 1 else None)  # asking costs 1 %
            for key, value in ({f"loss/{name}": loss.detach()} | extra).items():
                logs[key] = logs.get(key, 0) + value / len(batches) if len(batches) > 1 else value
        if name is None:
            return logs
        average_gradients(targets)
        if budget.clip:
            torch.nn.utils.clip_grad_norm_(targets, budget.clip)
        optimizers[name].step()


def average_gradients(targets: list[Tensor]) -> None:
    """The mean gradient over all processes, in one message.

    DistributedDataParallel expects one backward pass for one forward pass of a module. Critics that are run three
    times, penalised through their gradients and left out of the generator's step break that, so the loop reduces by
    itself.
    """
    if world() == 1:
        return
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in targets]
    flat = torch.cat([g.flatten() for g in grads])
    distributed.all_reduce(flat)
    for p, g in zip(targets, flat.div_(world()).split([p.numel() for p in targets]), strict=True):
        p.grad = g.view_as(p).clone()


def set_rates(optimizers: dict[str, Optimizer], budget: Budget, part: float) -> None:
    """Every rate as the schedule has it when `part` of the training, in [0, 1), is done; quarter: a tenth after it."""
    linear, cosine = min(1.0, 2 - 2 * part), (1 + math.cos(math.pi * part)) / 2  # no NumPy: a checkpoint holds rates
    steps = 0.1 ** sum(part >= s for s in STEPS)
    factors = {"constant": 1.0, "linear": linear, "cosine": cosine, "steps": steps, "quarter": 0.1 ** (part >= 1 / 4)}
    factor = factors[budget.schedule]
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor


# ---------------------------------------------------------------- the loop


class Loop:
    """The state of one training: what a checkpoint holds, and how it is saved and loaded."""

    def __init__(self, method: Method, train: Dataset, budget: Budget, seed: int, folder: Path | None) -> None:
        self.device = find_device(budget.device)
        self.bf16 = find_precision(budget.precision, self.device) == "bf16"
        self.method = method.to(self.device)
        if budget.channels_last:  # of pictures: Module.to would refuse a network for volumes
            for weight in (weight for weight in method.parameters() if weight.ndim == 4):
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        self.train, self.budget, self.seed, self.folder = train, budget, seed, folder
        if world() > 1 and self.device.type == "cuda":
            torch.nn.SyncBatchNorm.convert_sync_batchnorm(method)
        self.optimizers = method.optimizers()
        set_rates(self.optimizers, budget, 0.0)
        for name, child in method.named_children() if budget.compile else ():
            if name not in method.eager:
                child.compile()
        averaged = budget.ema and self.optimizers
        self.average = AveragedModel(method, multi_avg_fn=get_ema_multi_avg_fn(budget.ema)) if averaged else None
        self.steps = len(train) // batch_size(train, budget)
        self.epoch, self.done = 1, 0  # the next epoch, its steps done
        self.sums, self.count = {}, 0  # logs not yet written
        self.best = Best(budget.best, budget.patience)
        self.saved = time.monotonic()

    def state(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch, "done": self.done, "count": self.count, "sums": self.sums,
            "method": self.method.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "average": self.average.state_dict() if self.average else None,
            "best": self.best.state(),
        }  # fmt: skip

    def save(self) -> None:
        if self.folder is not None and rank() == 0:
            runs.save(self.folder / "state.pt", lambda file: torch.save(self.state(), file))
        self.saved = time.monotonic()

    def load(self) -> None:
        """Take up the checkpoint of the folder, if there is one."""
        path = self.folder / "state.pt" if self.folder is not None else None
        if path is None or not path.is_file():
            return
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.method.load_state_dict(state["method"])
            for name, optimizer in self.optimizers.items():
                optimizer.load_state_dict(state["optimizers"][name])
            if self.average:
                self.average.load_state_dict(state["average"])
        except Exception as error:  # torch.load raises whatever the damaged bytes provoke
            remedy = "delete this file to train from the start"
            raise InvalidRun(
                path, "a checkpoint of this run", f"a damaged one ({type(error).__name__})", remedy
            ) from error
        self.epoch, self.done, self.sums, self.count = (state[key] for key in ("epoch", "done", "sums", "count"))
        self.best.load(state.get("best", {}))  # checkpoints of earlier versions have none

    @property
    def trained(self) -> Method:
        """What is evaluated."""
        return self.average.module if self.average else self.method

    @property
    def ended(self) -> bool:
        return self.epoch > self.budget.epochs or self.best.ended

    def due(self, epoch: int) -> bool:
        """Whether the validation images are looked at after this epoch; for the best weights after the last one too."""
        every, last = self.budget.valid_every, epoch == self.budget.epochs and self.budget.best
        return every > 0 and (epoch % every == 0 or bool(last))

    @property
    def total(self) -> int:
        return (self.epoch - 1) * self.steps + self.done

    def advance(self, batches: list[Batch]) -> dict[str, float]:
        """One step; the logs' means where a line is due, else nothing."""
        set_rates(self.optimizers, self.budget, self.total / (self.steps * self.budget.epochs))
        seed = seed_of(self.seed, self.epoch, self.done)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed also visits every other kind of device, 0.1 ms
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        logs = step(self.method, self.optimizers, batches, seed, self.budget, self.bf16)
        if self.average:
            self.average.update_parameters(self.method)
        self.done += 1
        self.sums = {key: self.sums.get(key, 0) + value for key, value in logs.items()}
        self.count += 1
        if self.total % self.budget.log_every and self.done < self.steps:
            return {}
        means = {key: float(value) / self.count for key, value in self.sums.items()}
        self.sums, self.count = {}, 0
        broken = [key for key, value in means.items() if not np.isfinite(value)]
        if broken:
            remedy = "lower lr, set clip, or use precision=float32"
            raise InvalidParameter(f"epoch {self.epoch}", "finite losses", f"{means[broken[0]]} in {broken[0]}", remedy)
        return means


def fit(
    method: Method,
    train: Dataset,
    budget: Budget,
    *,
    seed: int = 0,
    valid: Dataset | None = None,
    folder: Path | None = None,
    watch: Watch | None = None,
) -> Method:
    """Train a method; with a folder, save checkpoints and metrics there and take up what was saved before.

    Args:
        train, valid: map-style data sets of dicts of tensors; `__getitems__` may return a whole batch.
        watch: called after every step; a true answer stops the training.

    Raises:
        Stopped: by Ctrl-C, SIGTERM or the watcher; the checkpoint is saved at a step's end.
        InvalidParameter: settings that cannot work, losses that are not finite.
    """
    if budget.best and (valid is None or not budget.valid_every):
        raise InvalidParameter("best", "validation images that are looked at", "none", "set valid_every")
    loop = Loop(method, train, budget, seed, folder)
    loop.load()
    logged = folder is not None and rank() == 0
    log = runs.Log(folder / "metrics.jsonl", loop.total) if logged else None
    told = Progress(loop.epoch, budget.epochs, loop.done, loop.steps, method, loop.total)
    with stopping() as stop, contextlib.closing(log) if log else contextlib.nullcontext():
        while not loop.ended:
            run_epoch(loop, log, told, stop, valid, watch)
    loop.save()
    if loop.average:
        method.load_state_dict(loop.average.module.state_dict())
    loop.best.put(method)
    return method


def run_epoch(loop: Loop, log: runs.Log | None, told: Progress, stop: threading.Event, valid: Any, watch: Any) -> None:
    """What is left of the current epoch."""
    epoch, budget = loop.epoch, loop.budget
    loop.method.epoch = epoch
    loop.method.train()
    batches = loader(loop.train, budget, loop.seed, epoch, loop.done)
    while loop.epoch == epoch:
        pieces = [move(next(batches), loop.device, budget.channels_last) for _ in range(budget.accumulate)]
        logs = loop.advance(pieces)
        if loop.done == loop.steps:
            if valid is not None and loop.due(epoch):
                found = validate(loop, valid)
                loop.best.judge(found, loop.trained)
                logs |= {f"valid/{key}": value for key, value in found.items()}
            loop.epoch, loop.done = epoch + 1, 0
            told.epochs = epoch if loop.ended else budget.epochs
        if log and logs:
            log.write(step=loop.total, epoch=epoch, **logs)
        told.update(epoch, loop.done or loop.steps, logs)
        stopped = agree(bool(watch and watch(told)) or stop.is_set(), bool(logs), loop.device)
        if stopped or time.monotonic() - loop.saved >= budget.save_every:
            loop.save()
        if stopped:
            raise Stopped(f"stopped in epoch {epoch} of {budget.epochs}; ask for the same run again and it resumes")


def agree(stopped: bool, due: bool, device: torch.device) -> bool:
    """Whether all processes stop now, asked where a log line is due; one alone would leave the others waiting."""
    if world() == 1:
        return stopped
    flag = torch.tensor(float(stopped), device=device)
    if due:
        distributed.all_reduce(flag)
    return due and flag.item() > 0


@contextlib.contextmanager
def stopping() -> Iterator[threading.Event]:
    """The event that Ctrl-C or SIGTERM sets, so that a step is never cut in two; a second Ctrl-C interrupts at once."""
    event, before = threading.Event(), {}

    def handler(number: int, frame: Any) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, old in before.items():
            signal.signal(number, old)


# ---------------------------------------------------------------- evaluation


@torch.inference_mode()
def evaluate(method: Method, cases: Dataset, batch: int = 16) -> Iterator[tuple[Batch, Batch, dict[str, Tensor]]]:
    """Batches in order, each with its prediction and its scores (one value an item), in float32 and evaluation mode."""
    was = method.training
    method.eval()
    for start in range(0, len(cases), batch):
        items = list(range(start, min(start + batch, len(cases))))
        fetched = (
            cases.__getitems__(items) if hasattr(cases, "__getitems__") else default_collate([cases[i] for i in items])
        )
        given = move(fetched, method.device, False)
        prediction = method.predict(given)
        yield given, prediction, method.score(given, prediction)
    method.train(was)


def gathered(method: Method, parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The scores of all batches, each (N,) float32 on the CPU, and those that take all items together (`pooled`)."""
    scores = {key: torch.cat([part[key].float().cpu() for part in parts]) for key in parts[0]}
    return scores | method.pooled(scores)


def validate(loop: Loop, valid: Dataset) -> dict[str, float]:
    """The mean validation scores; metrics that are not finite anywhere are left out."""
    found = gathered(loop.trained, [score for _, _, score in evaluate(loop.trained, valid)])
    means = {key: float(value.nanmean()) for key, value in found.items()}
    return {key: value for key, value in means.items() if np.isfinite(value)}
