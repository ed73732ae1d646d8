"""Where a training computes: device, precision, and the group of processes under torchrun."""

import contextlib
import os
from collections.abc import Iterator

import torch
from torch import distributed

from workbench.errors import InvalidParameter


def find_device(name: str = "auto") -> torch.device:
    """The device to train on; under torchrun each process its own GPU.

    Raises:
        InvalidParameter: a device that this machine does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        found = str(error).splitlines()[0]
        expected = "auto, cpu, or a device of this machine"
        raise InvalidParameter("device", expected, f"{name!r} ({found})", "use device=auto") from None
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", rank() % torch.cuda.device_count())
    return device


def find_precision(name: str = "auto", device: torch.device | None = None) -> str:
    """`bf16` where the hardware computes in it, else `float32`."""
    device = device or find_device()
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    able = device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False)
    return "bf16" if able else "float32"


def rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def world() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


@contextlib.contextmanager
def processes() -> Iterator[None]:
    """Under torchrun, join the group of processes (NCCL on GPUs, gloo otherwise) and leave it at the end."""
    if "RANK" not in os.environ:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
        distributed.barrier()  # one that leaves while another still works takes the group down with it
    finally:
        distributed.destroy_process_group()
