"""The best weights of a training, by a metric of the validation images, and when to look no further."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from workbench.errors import InvalidParameter, unknown


@dataclass
class Best:
    """What is known after each look at the validation images.

    Args:
        metric: such as `auc`, or `-mae` of which the lowest value is the best; empty where none is asked for.
        patience: looks without a better value after which the training has ended; 0 is never.

    Raises:
        InvalidParameter: patience without a metric.
    """

    metric: str
    patience: int
    value: float = float("-inf")  # the best so far, its sign turned where the lowest is the best
    since: int = 0  # looks without a better one
    weights: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.patience and not self.metric:
            raise InvalidParameter("patience", "a metric to wait for", "none", "name one, such as best=auc")

    @property
    def ended(self) -> bool:
        return 0 < self.patience <= self.since

    def judge(self, means: Mapping[str, float], net: torch.nn.Module) -> None:
        """Keep a copy of the weights if they are better than at every look before.

        Raises:
            InvalidParameter: a metric that the validation images do not have, or that is not finite there.
        """
        if not self.metric:
            return
        name, sign = self.metric.removeprefix("-"), -1 if self.metric.startswith("-") else 1
        if name not in means:
            raise unknown("best", name, means)
        self.since += 1
        if sign * means[name] > self.value:
            self.value, self.since = sign * means[name], 0
            self.weights = {key: v.clone() for key, v in net.state_dict().items() if isinstance(v, Tensor)}

    def put(self, net: torch.nn.Module) -> None:
        """Give the best weights back; what is no tensor, such as a pool of images, stays."""
        if self.weights:
            net.load_state_dict(self.weights, strict=False)

    def state(self) -> dict[str, float | int | dict[str, Tensor]]:
        return {"value": self.value, "since": self.since, "weights": self.weights}

    def load(self, state: Mapping[str, float | int | dict[str, Tensor]]) -> None:
        for key, value in state.items():
            setattr(self, key, value)
