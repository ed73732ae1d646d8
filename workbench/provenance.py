"""Where a run was made: the commit, versions and machine that env.json keeps beside its results."""

import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "kornia", "numpy", "scipy", "pandas")


def environment(device: torch.device, **known: Any) -> dict[str, Any]:
    """Commit, versions, device and start, beside what the caller knows (processes, precision, seed, fingerprint)."""
    shown = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return {
        "git": commit(), "python": platform.python_version(), "versions": {name: version(name) for name in PACKAGES},
        "platform": platform.platform(), "device": shown, "threads": torch.get_num_threads(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **known,
    }  # fmt: skip


def commit() -> str:
    """The commit of the package's source, with `+` where files differ from it; empty outside git."""
    describe = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
