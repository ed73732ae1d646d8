"""How fast the dashboard starts and follows: 1000 cases x 6 runs, synthetic, in a headless Chromium on this machine.

Measured, for the pages of colorizations and of masks: time from navigation to the first image drawn, with an empty and
with a filled browser cache; bytes on the wire, counted by a relay between browser and server; time of a case change at
the server and from key to picture; of volumes, a change of the slice at the server.
Prints medians with the range, and writes results/dashboard.json.

    python benchmarks/dashboard.py [--cases 1000] [--size 64] [--repeats 7]
"""

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import dashboard_runs
import panel as pn
from bokeh.document import Document
from bokeh.protocol import Protocol
from playwright.sync_api import sync_playwright

from workbench import dashboard, runs
from workbench.dashboard.pages import colorizations, masks

RESULT = Path(__file__).parent / "results" / "dashboard.json"
ARMS = {"colorizations": ("smcgan", "wgan_gp", "no_gan2"), "masks": ("crossdenoise", "co_teaching", "unet")}
PAGES = {"colorizations": colorizations.Comparison, "masks": masks.Comparison}
VOLUMES = {"cases": 12, "size": 64}  # 64 x 96 x 80 voxels
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-sync"
DRAWN = """
window.draws = []
const draw = CanvasRenderingContext2D.prototype.drawImage
CanvasRenderingContext2D.prototype.drawImage = function (image, ...place) {
  if (image.width === SIZE && image.height === SIZE) window.draws.push(performance.now())
  return draw.call(this, image, ...place)
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    result = {"setting": setting(options)} | {page: measured(page, options) for page in PAGES}
    report(result | {"volumes": {"slice_change": slice_changes()}})


def measured(page: str, options: argparse.Namespace) -> dict:
    """All times and sizes of one page."""
    with tempfile.TemporaryDirectory() as folder:
        for seed in (0, 1):
            for arm in ARMS[page]:
                written(page, Path(folder), arm, seed, options)
        result = {"server": server_times(Path(folder), PAGES[page])}
        relay_port = dashboard.free_port("127.0.0.1")
        with serving(folder, relay_port) as port, sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS.split())
            result |= browser_times(chromium, port, options)
            result["bytes"] = wire(chromium, port, relay_port, options.size)
            chromium.close()
    return result


def written(page: str, root: Path, arm: str, seed: int, options: argparse.Namespace) -> None:
    if page == "masks":
        dashboard_runs.write_masks(root, arm, seed, options.cases, options.size)
    else:
        dashboard_runs.write(root, arm, seed, options.cases, options.size, stride=8)


def slice_changes(steps: int = 60) -> dict:
    """Another slice of two runs of volumes, up to the message that is sent."""
    with tempfile.TemporaryDirectory() as folder:
        for arm in ("ltnet", "voxelmorph"):
            dashboard_runs.write_masks(Path(folder), arm, volume=True, **VOLUMES)
        page, document, events, times = masks.Comparison(runs.find(folder)), Document(), [], []
        document.add_root(page.view().get_root())
        document.on_change(events.append)
        for step in range(steps):
            events.clear()
            start = time.perf_counter()
            page.sliders["axial"].value = step
            Protocol().create("PATCH-DOC", events)
            times.append(time.perf_counter() - start)
    return summary(times)


def setting(options: argparse.Namespace) -> dict:
    return {
        "cases": options.cases,
        "runs": 2 * len(ARMS["masks"]),
        "size": options.size,
        "repeats": options.repeats,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }


def summary(seconds: list[float]) -> dict:
    values = sorted(round(1000 * s, 1) for s in seconds)
    return {"median_ms": statistics.median(values), "min_ms": values[0], "max_ms": values[-1], "n": len(values)}


def server_times(root: Path, kind: type, steps: int = 50) -> dict:
    """Building the page, and a case change up to the message that is sent: wall time and CPU time."""
    pn.extension(*dashboard.EXTENSIONS, **dashboard.OPTIONS)
    builds, changes, busy, sent = [], [], [], []
    for _ in range(5):
        start, document = time.perf_counter(), Document()
        page = kind(runs.find(root))
        document.add_root(page.view().get_root())
        document.to_json()
        builds.append(time.perf_counter() - start)
    events = []
    document.on_change(events.append)
    for _ in range(steps):
        events.clear()
        start, cpu = time.perf_counter(), time.thread_time()
        page.cases.step(1)
        message = Protocol().create("PATCH-DOC", events)
        changes.append(time.perf_counter() - start)
        busy.append(time.thread_time() - cpu)
        sent.append(len(message.content_json) + sum(len(buffer.to_bytes()) for buffer in message.buffers))
    return {
        "page": summary(builds),
        "case_change": summary(changes),
        "case_change_cpu": summary(busy),
        "case_change_bytes": int(statistics.median(sent)),
    }


@contextmanager
def serving(folder: str, relay: int):
    """A server in a process of its own; yields its port once it answers."""
    port = dashboard.free_port("127.0.0.1")
    call = f"dashboard.serve({folder!r}, port={port}, show=False, origins=['127.0.0.1:{relay}'])"
    process = subprocess.Popen([sys.executable, "-c", f"from workbench import dashboard; {call}"])
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()


def opened(context, port: int, size: int):
    """A page with its first picture drawn, and the seconds that took from navigation."""
    page = context.new_page()
    page.add_init_script(DRAWN.replace("SIZE", str(size)))
    page.goto(f"http://127.0.0.1:{port}/", wait_until="commit")
    page.wait_for_function("window.draws.length > 0", polling=20)
    seconds = page.evaluate("window.draws[0]") / 1000
    page.wait_for_timeout(1000)
    return page, seconds


def browser_times(chromium, port: int, options: argparse.Namespace) -> dict:
    first, again = [], []
    for _ in range(options.repeats):
        context = chromium.new_context(viewport={"width": 1280, "height": 800})
        for times in (first, again):
            page, seconds = opened(context, port, options.size)
            times.append(seconds)
            page.close()
        context.close()
    page, _ = opened(chromium.new_context(), port, options.size)
    keys = [key_to_picture(page) for _ in range(30)]
    page.close()
    return {
        "first_picture_empty_cache": summary(first),
        "first_picture_filled_cache": summary(again),
        "key_to_picture": summary(keys),
    }


def key_to_picture(page) -> float:
    page.evaluate("() => { window.draws = []; window.pressed = performance.now() }")
    page.keyboard.press("j")
    page.wait_for_function("window.draws.length > 0", polling=5)
    seconds = page.evaluate("(window.draws[0] - window.pressed) / 1000")
    page.wait_for_timeout(150)
    return seconds


class Relay:
    """Passes bytes between a browser and a server, and counts what the browser is sent."""

    def __init__(self, port: int, to: int) -> None:
        self.to, self.received = to, 0
        self.listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            near, _ = self.listener.accept()
            far = socket.create_connection(("127.0.0.1", self.to))
            for source, target, counted in ((near, far, False), (far, near, True)):
                threading.Thread(target=self.copy, args=(source, target, counted), daemon=True).start()

    def copy(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        try:
            while data := source.recv(65536):
                self.received += len(data) if counted else 0
                target.sendall(data)
        except OSError:
            pass  # either side may hang up at any time
        finally:
            target.close()


def wire(chromium, port: int, relay_port: int, size: int) -> dict:
    """Bytes sent to the browser: on a first visit, with scripts and styles in its cache, and for a case change."""
    relay = Relay(relay_port, port)
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    counts = []
    for _ in range(2):
        relay.received = 0
        page, _ = opened(context, relay_port, size)
        counts.append(relay.received)
        if len(counts) < 2:
            page.close()
            page = None
    relay.received = 0
    for _ in range(20):
        key_to_picture(page)
    change = relay.received // 20
    context.close()
    first, again = counts
    return {"first_visit": first, "scripts_and_styles": first - again, "page_and_data": again, "case_change": change}


def report(result: dict) -> None:
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    for page in (*PAGES, "volumes"):
        print(page)
        for name, value in {**result[page], **result[page].get("server", {})}.items():
            if isinstance(value, dict) and "median_ms" in value:
                print(f"  {name:<28} {value['median_ms']:8.1f} ms   ({value['min_ms']:.1f} … {value['max_ms']:.1f})")
        for name, count in result[page].get("bytes", {}).items():
            print(f"  {name:<28} {count / 1000:8.1f} kB on the wire")
    print(f"{result['setting']}")


if __name__ == "__main__":
    main()
