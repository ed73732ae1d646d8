"""What this machine offers the workbench (packages, device, memory, Jupyter parts) and how to get the rest."""

import importlib.metadata
import os
import platform
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from . import __version__

# fmt: off
PACKAGES = (
    "torch", "kornia", "monai", "torchmetrics", "numpy", "scipy", "pandas", "openpyxl", "pyarrow", "pillow", "nibabel",
    "pydicom", "scikit-image", "scikit-learn", "safetensors", "tyro", "tqdm", "jupyterlab", "ipywidgets", "panel",
    "holoviews", "papermill", "pyyaml", "nbconvert", "latex2mathml", "nbformat", "jupyter-server-proxy", "psutil",
    "bokeh", "filelock", "param",
)
# fmt: on
EXTRAS = {"cluster": "dask", "dicom": "pylibjpeg-openjpeg", "remote": "webdataset", "search": "optuna"}
LABEXTENSIONS = {
    "@pyviz/jupyterlab_pyviz": "pyviz-comms",
    "@jupyter-widgets/jupyterlab-manager": "jupyterlab-widgets",
}
PANEL_EXTENSION = "panel.io.jupyter_server_extension"
KERNEL = "python3"  # the name the notebooks ask for
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OLDEST_PYTHON = (3, 11)
CGROUPS, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
GIB = 2**30
WIDTH = 100  # columns of the table


@dataclass(frozen=True)
class Check:
    """One line of the report: `ok` is False only for a part the workbench needs.

    A remedy beside a true `ok` tells how to get an optional part.
    """

    name: str
    value: str
    ok: bool = True
    remedy: str = ""


def report(runs: Path = Path("runs")) -> list[Check]:
    """The checks of this machine and interpreter, in the order they are shown.

    Versions come from the installed metadata; only psutil, torch and what the training loop needs are loaded.
    `runs` is the folder whose disk is measured; it need not exist.
    """
    return [
        Check("workbench", __version__),
        _interpreter(),
        *map(_package, PACKAGES),
        *(_extra(extra, package) for extra, package in EXTRAS.items()),
        *_compute(),
        _memory(),
        _disk(runs),
        *(_labextension(name, package) for name, package in LABEXTENSIONS.items()),
        _panel_extension(),
        _kernel(),
        _browser(),
    ]


def show(runs: Path = Path("runs")) -> int:
    """Print the report as a table, then the remedies; returns the exit status, 1 where a needed part is missing."""
    checks = report(runs)
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(_line(check, width))
    for heading, ok in (("Missing, and how to get it", False), ("Optional, and how to get it", True)):
        wanted = [check for check in checks if check.remedy and check.ok is ok]
        if wanted:
            print("", f"{heading}:", *(f"  {check.name}\n      {check.remedy}" for check in wanted), sep="\n")
    return int(not all(check.ok for check in checks))


def browser() -> Path | None:
    """The installed Chromium that the browser tests drive, None where there is none."""
    return next((Path(found) for found in map(shutil.which, BROWSERS) if found), None)


def _line(check: Check, width: int) -> str:
    mark = ("note" if check.remedy else "ok") if check.ok else "MISSING"
    line = f"{mark:<8}{check.name:<{width}}  {check.value}"
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."


def _python(arguments: str) -> str:
    """A command of this interpreter, as it can be typed in the current folder."""
    executable, here = Path(sys.executable), Path.cwd()
    shown = executable.relative_to(here) if executable.is_relative_to(here) else executable
    return f"{shlex.quote(str(shown))} {arguments}"


def _install(what: str) -> str:
    return _python(f"-m pip install -c constraints.txt {what}")


def _interpreter() -> Check:
    ok = sys.version_info[:2] >= OLDEST_PYTHON
    remedy = "" if ok else "install Python 3.11 or newer, for example: make PYTHON=python3.12 demo"
    return Check("python", f"{platform.python_version()} ({platform.machine()})", ok, remedy)


def _package(name: str) -> Check:
    try:
        return Check(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "not installed", False, _install(name))


def _extra(extra: str, package: str) -> Check:
    found = _package(package)
    return Check(f"extra {extra}", f"{package} {found.value}", True, "" if found.ok else _install(f"-e '.[{extra}]'"))


def _compute() -> list[Check]:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library is missing
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        return [Check("device", f"torch does not load: {reason}", False, _install("--force-reinstall torch"))]
    return [*_devices(torch), _precision(), _threads(torch)]


def _devices(torch) -> list[Check]:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count:
        return [_gpu(index, torch.cuda.get_device_properties(index)) for index in range(count)]
    unused = shutil.which("nvidia-smi") is not None
    remedy = "an NVIDIA driver is here: install a CUDA build of torch that it supports" if unused else ""
    return [Check("device", "cpu (no CUDA device)", True, remedy)]


def _gpu(index: int, gpu) -> Check:
    value = f"{gpu.name}, {gpu.total_memory / GIB:.1f} GiB, compute capability {gpu.major}.{gpu.minor}"
    return Check(f"device cuda:{index}", value)


def _precision() -> Check:
    try:
        from .device import find_device, find_precision
    except ImportError as error:
        return Check("precision", f"the training loop does not load: {error}", False, _install("-e ."))
    device = find_device()
    return Check("precision", f"{find_precision(device=device)} on {device}")


def _threads(torch) -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Check("threads", f"{torch.get_num_threads()} for torch, {cores} cores to run on")


def _memory() -> Check:
    try:
        import psutil
    except ImportError:
        return Check("memory", "unknown without psutil", False, _install("psutil"))
    memory, limit = psutil.virtual_memory(), _memory_limit()
    total = min(memory.total, limit) if limit else memory.total
    note = ", limited by the control group" if total < memory.total else ""
    return Check("memory", f"{min(memory.available, total) / GIB:.1f} of {total / GIB:.1f} GiB available{note}")


def _memory_limit() -> int | None:
    """The lowest memory limit, in bytes, of this process's control groups and their parents."""
    limits = []
    for line in MEMBERSHIP.read_text().splitlines() if MEMBERSHIP.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            root, name = CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = root / path.lstrip("/")
        files = (folder / name for folder in (group, *group.parents) if folder.is_relative_to(root))
        texts = (file.read_text().strip() for file in files if file.exists())
        limits += [int(text) for text in texts if text.isdigit()]  # "max": no limit
    return min(limits, default=None)


def _disk(runs: Path) -> Check:
    runs = runs.absolute()
    there = next(folder for folder in (runs, *runs.parents) if folder.exists())
    free = f"{shutil.disk_usage(there).free / GIB:.1f} GiB free"
    if there.is_dir() and os.access(there, os.W_OK):
        return Check("disk for runs", free)
    return Check("disk for runs", f"{free}, not writable", False, f"make {there} a folder you can write to")


def _labextension(name: str, package: str) -> Check:
    label = f"lab {name}"
    try:
        from jupyter_core.paths import jupyter_path
    except ImportError:
        return Check(label, "unknown without jupyterlab", False, _install("jupyterlab"))
    if any((Path(folder) / name / "package.json").exists() for folder in jupyter_path("labextensions")):
        return Check(label, "present")
    return Check(label, "missing", False, _install(f"--force-reinstall --no-deps {package}"))


def _panel_extension() -> Check:
    label = "panel in Jupyter"
    try:
        from jupyter_core.paths import jupyter_config_path
        from jupyter_server.extension.config import ExtensionConfigManager
    except ImportError:
        return Check(label, "unknown without jupyterlab", False, _install("jupyterlab"))
    if ExtensionConfigManager(read_config_path=jupyter_config_path()).enabled(PANEL_EXTENSION):
        return Check(label, "enabled")
    remedy = _python(f"-m jupyter server extension enable {PANEL_EXTENSION} --sys-prefix")
    return Check(label, "not enabled", False, remedy)


def _kernel() -> Check:
    label, remedy = f"kernel {KERNEL}", _python("-m ipykernel install --sys-prefix")
    try:
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    except ImportError:
        return Check(label, "unknown without jupyterlab", False, _install("jupyterlab"))
    try:
        command = Path(KernelSpecManager().get_kernel_spec(KERNEL).argv[0])
    except NoSuchKernel:
        return Check(label, "missing", False, remedy)
    # Jupyter replaces a bare "python" by the interpreter it runs on.
    if command.name == str(command) or command.parent == Path(sys.executable).parent:
        return Check(label, "this interpreter")
    return Check(label, f"another interpreter: {command}", False, remedy)


def _browser() -> Check:
    found = browser()
    remedy = "" if found else "apt-get install chromium (needed by the browser tests only)"
    return Check("browser", found.name if found else "none", True, remedy)
