"""What a training tells those who watch it, and the bar that a terminal draws of it."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tqdm.auto import tqdm

from workbench.method import Method


@dataclass
class Progress:
    """What a watcher is told after every step; `logs` holds means where a line of metrics was due, else nothing."""

    epoch: int
    epochs: int
    step: int
    steps: int
    method: Method
    skipped: int  # steps that an earlier process did
    logs: dict[str, float] = field(default_factory=dict)
    start: float = field(default_factory=time.monotonic)

    def update(self, epoch: int, step: int, logs: dict[str, float]) -> None:
        self.epoch, self.step, self.logs = epoch, step, logs

    @property
    def total(self) -> int:
        """Steps done, those of earlier processes too."""
        return (self.epoch - 1) * self.steps + self.step

    @property
    def left(self) -> float:
        """Seconds that the rest will take at the pace so far."""
        pace = (time.monotonic() - self.start) / max(self.total - self.skipped, 1)
        return pace * (self.epochs * self.steps - self.total)


Watch = Callable[[Progress], bool | None]


def bar(label: str) -> Watch:
    """A watcher that draws a progress bar, or prints a line an epoch where there is no terminal and no notebook."""
    drawn = tqdm(desc=label, unit="step", mininterval=1.0, leave=False, disable=None)

    def watch(told: Progress) -> None:
        drawn.total = told.epochs * told.steps
        drawn.update(told.total - drawn.n)
        if drawn.disable and told.step == told.steps and told.logs:
            print(f"{label}: epoch {told.epoch} of {told.epochs}, {told.left:.0f} s left", file=sys.stderr, flush=True)
        if told.total == drawn.total:
            drawn.close()

    return watch
