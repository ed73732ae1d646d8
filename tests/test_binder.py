"""Binder: what repo2docker would build, its scripts in a fresh environment, Lab and dashboard behind a hub."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import browsers
import dashboard_runs
import nbformat
import pytest

from workbench import dashboard

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 1024  # MB that a session of Binder is sure to have


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """What Binder would copy: the files of the repository, no others."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: nothing tells the project's files from others")
    folder = tmp_path_factory.mktemp("home")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def test_badges_open_what_they_stand_on(checkout, tmp_path):
    """In README.md and in every notebook; another address takes the place of the one that is there."""
    for name in ("README.md", "notebooks", "binder"):
        copy = shutil.copytree if (checkout / name).is_dir() else shutil.copy2
        copy(checkout / name, tmp_path / name)
    command = [sys.executable, tmp_path / "binder" / "badges.py"]
    for repository in ("someone/fork", "else.where/an-other_1"):
        subprocess.run([*command, repository], check=True)
        opened = f"https://mybinder.org/v2/gh/{repository}/HEAD?urlpath=lab/tree/notebooks/"
        assert (tmp_path / "README.md").read_text().count(f"({opened}00_start.ipynb)") == 1
        for path in (tmp_path / "notebooks").glob("*.ipynb"):
            before, after = nbformat.read(checkout / "notebooks" / path.name, 4), nbformat.read(path, 4)
            first = after.cells[0].source
            assert first.count("mybinder.org/badge") == 1 and f"({opened}{path.name})" in first
            assert first.startswith(before.cells[0].source.split("\n")[0]) and after.cells[1:] == before.cells[1:]
    refused = subprocess.run([*command, "https://example.org/x"], capture_output=True, text=True)
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1 and "OWNER/REPOSITORY" in refused.stderr


def test_every_badge_is_there(checkout):
    assert "mybinder.org/badge_logo.svg" in (checkout / "README.md").read_text()
    for path in (checkout / "notebooks").glob("*.ipynb"):
        assert f"lab/tree/notebooks/{path.name})" in nbformat.read(path, 4).cells[0].source, path.name


@pytest.fixture(scope="module")
def python(checkout, tmp_path_factory) -> Path:
    """A fresh environment that sees the installed dependencies, into which postBuild has installed the workbench."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    found = folder / "bin" / "python"
    asked = [found, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    place = Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
    (place / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    env = os.environ | {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([checkout / "binder/postBuild"], cwd=checkout, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return found


def test_repo2docker_builds_from_the_binder_folder(checkout):
    """Not from environment.yml of the root, which has no CPU torch; with both scripts, and a Python that is allowed."""
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--no-run", "--debug", str(checkout)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-2000:]
    steps = [line.strip() for line in said.splitlines()]
    assert "RUN ./binder/postBuild" in steps and 'ENV R2D_ENTRYPOINT="${REPO_DIR}/binder/start"' in steps
    (update,) = [line for line in steps if "env update" in line]
    assert '--file "binder/environment.yml"' in update
    assert re.search(r"for python=3\.1[12]$", said, re.M)


def test_the_installed_workbench_is_that_of_the_checkout(python, checkout):
    code = "import workbench; print(workbench.__file__)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd="/", env=clean())
    assert Path(done.stdout.strip()) == checkout / "workbench" / "__init__.py", done.stderr


def clean() -> dict[str, str]:
    """The environment without what would lead to another workbench."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "WORKBENCH_RUNS")}


@pytest.fixture(scope="module")
def hub(python, checkout, tmp_path_factory) -> Iterator[tuple[str, int]]:
    """A Jupyter server below a path, as on a hub, started by binder/start: its address and process id."""
    root, port = tmp_path_factory.mktemp("hub"), dashboard.free_port("127.0.0.1")
    dashboard_runs.write(root / "runs", "smcgan", cases=4, size=32)
    share = Path(sys.prefix) / "share" / "jupyter"
    env = clean() | {"JUPYTER_PATH": str(share), "JUPYTERLAB_DIR": str(share / "lab"), "HOME": str(root)}
    env |= {"JUPYTER_CONFIG_PATH": str(Path(sys.prefix) / "etc" / "jupyter"), "WORKBENCH_RUNS": str(root / "runs")}
    words = ["--no-browser", "--allow-root", f"--port={port}", "--ServerApp.base_url=/user/someone/"]
    words += ["--IdentityProvider.token=", f"--ServerApp.root_dir={checkout}", "--LabApp.news_url="]
    with open(root / "log", "w+") as log:
        command = [checkout / "binder/start", python, "-m", "jupyterlab", *words]
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=checkout, env=env)
        try:
            browsers.wait_for(f"http://127.0.0.1:{port}/user/someone/api", process, log)
            yield f"http://127.0.0.1:{port}/user/someone/", process.pid
        finally:
            process.terminate()
            process.wait()


@pytest.mark.browser
@pytest.mark.timeout(300)
def test_the_dashboard_opens_through_the_proxy(hub):
    """Its tile is in the launcher; its page, style sheets and messages all go through the server's own address."""
    address, _ = hub
    with urllib.request.urlopen(f"{address}server-proxy/servers-info") as answer:
        servers = json.load(answer)["server_processes"]
    (tile,) = [one["launcher_entry"] for one in servers if one["name"] == "workbench"]
    assert tile["title"] == "Workbench dashboard" and tile["enabled"]
    with browsers.chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        elsewhere = []
        page.on("request", lambda r: None if r.url.startswith((address, "data:", "blob:")) else elsewhere.append(r.url))
        page.goto(f"{address}lab", timeout=120_000)
        page.wait_for_selector("text=Workbench dashboard", timeout=120_000)
        page.goto(f"{address}{tile['path_info']}", timeout=120_000)
        page.wait_for_selector("text=Colorizations", timeout=60_000)
        case = page.locator("text=1 of 4").first
        case.wait_for(timeout=60_000)
        page.locator("button:has-text('▶')").first.click()  # an answer of the server, over the web socket
        page.wait_for_selector("text=2 of 4", timeout=30_000)
        assert not elsewhere


def test_lab_leaves_room_for_a_kernel(hub):
    """The largest kernel that the notebooks may have (tests/test_notebooks.py) fits beside the server."""
    from test_notebooks import KERNEL

    _, pid = hub
    time.sleep(1)
    status = Path(f"/proc/{pid}/status").read_text()
    assert "jupyterlab" in Path(f"/proc/{pid}/cmdline").read_text()  # binder/start has become the server
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024
    assert peak + KERNEL <= LIMIT


def test_memory_is_kept_low_as_the_notebooks_are_tested(checkout):
    from test_notebooks import MEMORY

    asked = ["bash", "-c", f"printf '%s\\n' {' '.join(f'${name}' for name in MEMORY)}"]
    done = subprocess.run([checkout / "binder/start", *asked], capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(MEMORY.values())
