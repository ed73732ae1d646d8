"""The report of the machine: what is missing is named with its remedy, and the table stays narrow."""

import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jupyter_core.paths
import psutil
import pytest
import torch

from workbench import doctor
from workbench.doctor import GIB, Check


def named(name, checks=None):
    found = [check for check in checks or doctor.report() if check.name == name]
    assert len(found) == 1
    return found[0]


@pytest.fixture
def without(monkeypatch):
    """Hides one installed distribution from the metadata."""
    version = importlib.metadata.version

    def hide(package):
        def look_up(name):
            if name == package:
                raise importlib.metadata.PackageNotFoundError(name)
            return version(name)

        monkeypatch.setattr(importlib.metadata, "version", look_up)

    return hide


@pytest.fixture
def no_jupyter_files(monkeypatch, tmp_path):
    for name in ("jupyter_path", "jupyter_config_path"):
        monkeypatch.setattr(jupyter_core.paths, name, lambda *parts: [str(tmp_path.joinpath(*parts))])


def test_smoke_all_needed_parts_are_here(capsys):
    assert doctor.show() == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["ok", "kornia", importlib.metadata.version("kornia")] for line in lines)
    assert "MISSING" not in "".join(lines)


def test_importing_doctor_loads_no_package():
    code = "import sys, workbench.doctor; print({'torch', 'psutil', 'jupyter_core'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


@pytest.mark.parametrize("package", ["kornia", "jupyter-server-proxy"])
def test_missing_package_is_named_with_its_remedy(without, package, capsys):
    without(package)
    check = named(package)
    assert (check.ok, check.value) == (False, "not installed")
    assert f"-m pip install -c constraints.txt {package}" in check.remedy
    assert doctor.show() == 1
    shown = capsys.readouterr().out
    assert f"MISSING {package}" in shown
    assert check.remedy in shown


def test_missing_extra_is_a_note_and_no_failure(without, capsys):
    without("webdataset")
    check = named("extra remote")
    assert check.ok
    assert check.remedy.endswith("-e '.[remote]'")
    assert doctor.show() == 0
    assert "note    extra remote" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "package"), doctor.LABEXTENSIONS.items())
def test_missing_lab_extension_is_named_with_its_package(no_jupyter_files, name, package):
    check = named(f"lab {name}")
    assert (check.ok, check.value) == (False, "missing")
    assert check.remedy.endswith(f"--no-deps {package}")


def test_server_extension_that_is_not_enabled(no_jupyter_files):
    check = named("panel in Jupyter")
    assert (check.ok, check.value) == (False, "not enabled")
    assert f"extension enable {doctor.PANEL_EXTENSION}" in check.remedy


def test_server_extension_that_is_switched_off(no_jupyter_files, tmp_path):
    text = '{"ServerApp": {"jpserver_extensions": {"%s": %s}}}'
    (tmp_path / "jupyter_server_config.d").mkdir()
    config = tmp_path / "jupyter_server_config.d/panel.json"
    config.write_text(text % (doctor.PANEL_EXTENSION, "false"))
    assert not named("panel in Jupyter").ok
    config.write_text(text % (doctor.PANEL_EXTENSION, "true"))
    assert named("panel in Jupyter").ok


@pytest.mark.parametrize(
    ("command", "ok"),
    [("python", True), ("python3", True), (sys.executable, True), ("/opt/other/bin/python", False)],
)
def test_kernel_must_start_this_interpreter(monkeypatch, command, ok):
    spec = SimpleNamespace(argv=[command, "-m", "ipykernel_launcher"])
    monkeypatch.setattr("jupyter_client.kernelspec.KernelSpecManager.get_kernel_spec", lambda *_: spec)
    check = named("kernel python3")
    assert check.ok is ok
    assert ("ipykernel install" in check.remedy) is not ok


def test_missing_kernel(monkeypatch):
    from jupyter_client.kernelspec import NoSuchKernel

    def missing(_, name):
        raise NoSuchKernel(name)

    monkeypatch.setattr("jupyter_client.kernelspec.KernelSpecManager.get_kernel_spec", missing)
    assert (named("kernel python3").ok, named("kernel python3").value) == (False, "missing")


def test_torch_that_does_not_load(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    check = named("device")
    assert not check.ok
    assert check.value.startswith("torch does not load: ")
    assert check.remedy.endswith("--force-reinstall torch")


@pytest.mark.parametrize("precision", ["bf16", "float32"])
def test_precision_is_the_one_the_loop_finds(monkeypatch, precision):
    monkeypatch.setattr("workbench.device.find_device", lambda: torch.device("cuda", 1))
    monkeypatch.setattr("workbench.device.find_precision", lambda device: precision)
    assert named("precision").value == f"{precision} on cuda:1"


def test_loop_that_does_not_load(monkeypatch):
    monkeypatch.setitem(sys.modules, "workbench.device", None)
    check = named("precision")
    assert not check.ok
    assert check.remedy.endswith("-e .")


def test_gpus_are_listed_one_by_one(monkeypatch):
    gpu = SimpleNamespace(name="Card", total_memory=24 * GIB, major=8, minor=9)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: gpu)
    monkeypatch.setattr("workbench.device.find_device", lambda: torch.device("cpu"))
    assert named("device cuda:1") == Check("device cuda:1", "Card, 24.0 GiB, compute capability 8.9")


def test_driver_without_cuda_torch_gets_a_hint(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("workbench.device.find_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert "CUDA build" in named("device").remedy
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert named("device").remedy == ""


def control_groups(tmp_path, membership, limits):
    for path, limit in limits.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{limit}\n")
    (tmp_path / "membership").write_text(membership)
    return tmp_path, tmp_path / "membership"


@pytest.mark.parametrize(
    ("membership", "limits", "expected"),
    [
        ("0::/\n", {"memory.max": GIB}, GIB),
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": 2 * GIB}, 2 * GIB),
        ("0::/a/b\n", {"a/b/memory.max": 3 * GIB, "a/memory.max": 2 * GIB}, 2 * GIB),
        ("4:memory:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": 3 * GIB}, 3 * GIB),
        ("3:cpuset:/a\n", {"memory/a/memory.limit_in_bytes": GIB}, None),
        ("0::/\n", {"memory.max": "max"}, None),
    ],
)
def test_memory_limit_of_the_control_group(monkeypatch, tmp_path, membership, limits, expected):
    root, file = control_groups(tmp_path, membership, limits)
    monkeypatch.setattr(doctor, "CGROUPS", root)
    monkeypatch.setattr(doctor, "MEMBERSHIP", file)
    memory = SimpleNamespace(total=8 * GIB, available=6 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    total = (expected or 8 * GIB) / GIB
    assert f"of {total:.1f} GiB" in named("memory").value
    assert ("control group" in named("memory").value) is (expected is not None)


def test_folder_for_runs_that_is_a_file(tmp_path):
    file = tmp_path / "runs"
    file.write_text("")
    check = named("disk for runs", doctor.report(file))
    assert not check.ok
    assert str(file) in check.remedy
    assert named("disk for runs", doctor.report(tmp_path / "not/yet")).ok


def test_browser_is_optional(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert doctor.browser() is None
    assert named("browser").ok
    assert "apt-get install chromium" in named("browser").remedy
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if name == "google-chrome" else None)
    assert doctor.browser() == Path("/bin/google-chrome")


def test_table_is_aligned_and_within_a_hundred_columns(monkeypatch, capsys):
    checks = [Check("a", "1"), Check("longer name", "x" * 200), Check("b", "2", False, "fetch b")]
    monkeypatch.setattr(doctor, "report", lambda runs: checks)
    assert doctor.show() == 1
    table, _, remedies = capsys.readouterr().out.partition("\n\n")
    lines = table.splitlines()
    assert [len(line) <= doctor.WIDTH for line in lines] == [True] * 3
    assert lines[0].index("1") == lines[1].index("x") == lines[2].index("2")
    assert lines[1].endswith("...")
    assert remedies.splitlines() == ["Missing, and how to get it:", "  b", "      fetch b"]
