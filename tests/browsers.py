"""A dashboard served by a process of its own, and pages of it opened in a headless Chromium."""

import io
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from workbench import dashboard

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def serving(root, folder) -> Iterator[str]:
    """The address of a dashboard over the runs in `root`; its log is written to `folder`."""
    port = dashboard.free_port("127.0.0.1")
    code = f"from workbench import dashboard; dashboard.serve({str(root)!r}, port={port}, show=False)"
    with open(folder / "log", "w+") as log:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=log)
        try:
            wait_for(f"http://127.0.0.1:{port}/", process, log)
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()
            process.wait()


def wait_for(url, process, log) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            if process.poll() is not None:
                log.seek(0)
                pytest.fail(log.read())
            time.sleep(0.1)
    pytest.fail("the server did not start")


@contextmanager
def chromium() -> Iterator:
    """A browser; without an installed one the test is skipped, or fails where it must run."""
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("Chromium is missing")
        pytest.skip("Chromium is missing")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def opened(browser, url: str, width: int = 1280, height: int = 800) -> Iterator:
    """A page; at the end nothing may have been complained of, nor fetched from elsewhere."""
    page, complaints = browser.new_page(viewport={"width": width, "height": height}), []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
    page.on("request", lambda r: None if r.url.startswith((url, "data:", "blob:")) else complaints.append(r.url))
    page.on("response", lambda r: complaints.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
    page.goto(url)
    yield page
    page.close()
    if complaints:
        pytest.fail("\n".join(complaints))


def at(page, name: str):
    """A place of the board; the ids of its template are followed by that of the model."""
    return page.locator(f"[id^='{name}-']").first


def pixels(locator, margin: int = 4) -> np.ndarray:
    """What is drawn, (H, W, 3) uint8, without its margin, into which the shadows of its neighbours may fall."""
    image = np.asarray(Image.open(io.BytesIO(locator.screenshot())).convert("RGB"))
    return image[margin : len(image) - margin, margin : image.shape[1] - margin]


def until(page, changed: Callable[[], bool]) -> None:
    """Waits until something holds, since pictures follow the server."""
    for _ in range(100):
        if changed():
            return
        page.wait_for_timeout(50)
    raise AssertionError("nothing changed in five seconds")
