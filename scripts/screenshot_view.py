"""Looks at the demo's view in a headless Chromium: how docs/images/view.png was made.

python scripts/screenshot_view.py docs/images/view.png

Waits until the camera's picture, the face's box and the curves are drawn; without a GPU that takes half a minute or
more. Needs requirements/view.txt, playwright and a Chromium (Debian: apt install chromium).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fer_perception.types import UInt8Image
from fer_perception.visualization.drawing import color_of

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# WebGL without a GPU; and the browser itself asks the network for nothing.
BROWSER_ARGUMENTS = [
    *("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
    *("--disable-background-networking", "--disable-component-update"),
]
SIZE = {"width": 1280, "height": 720}
LOCAL = ("http://127.0.0.1:", "data:", "blob:")
BLOCKED = "csp"  # the browser says so of what the page's policy forbids
DEMO_S = 12.0
TIMEOUT_S = 300.0
# A photograph has many colours, the viewer itself few. In 5 bits a channel, of the picture's part of the page.
MANY_COLORS = 600


def main() -> int:
    """Run the demo and look at it; the exit status is 1 where it was not drawn in time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path, help="the screenshot to be written (PNG)")
    parser.add_argument("--source", default="astronaut", help="of the demo (astronaut)")
    options = parser.parse_args()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"none of {', '.join(BROWSERS)} is on this machine (Debian: apt install chromium)")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fer_perception", "demo", "--view", "--out", folder]
        command += ["--source", options.source, "--seconds", str(DEMO_S)]
        # In a terminal the view stays when the demo has ended: a browser without a GPU is slow, and has time then.
        keyboard, terminal = os.openpty()
        demo = subprocess.Popen(command, stdin=terminal, stdout=subprocess.PIPE, text=True)
        try:
            assert demo.stdout
            address = ""
            for line in demo.stdout:
                address = line.removeprefix("view: ").strip() if line.startswith("view: ") else address
                if line.startswith("written: "):
                    break
            if not address:
                sys.exit("the demo has no view: it says above why")
            return look(address, browser, options.image)
        finally:
            os.write(keyboard, b"\n")
            demo.communicate()


def look(address: str, browser: str, image: Path) -> int:
    """Open the page, wait until all of it is drawn, and save what it looks like."""
    from playwright.sync_api import sync_playwright

    begun, elsewhere = time.monotonic(), set[str]()
    with sync_playwright() as driver:
        window = driver.chromium.launch(executable_path=browser, args=BROWSER_ARGUMENTS)
        tab = window.new_page(viewport=SIZE)  # type: ignore[arg-type]
        tab.set_default_timeout(TIMEOUT_S * 1000)
        tab.on("requestfinished", lambda request: elsewhere.add(request.url))
        tab.on("requestfailed", lambda request: None if request.failure == BLOCKED else elsewhere.add(request.url))
        tab.goto(address)
        while missing := undrawn(screenshot(tab)):
            if time.monotonic() > begun + TIMEOUT_S:
                print(f"not drawn after {TIMEOUT_S:g} s: {', '.join(missing)}", file=sys.stderr)
                break
            time.sleep(1.0)
        tab.screenshot(path=str(image))
        window.close()
    print(f"drawn after {time.monotonic() - begun:.0f} s" if not missing else "", "written:", image)
    others = sorted(url for url in elsewhere if not url.startswith(LOCAL))
    print("asked for elsewhere:", *others or ["nothing"])
    return int(bool(missing))


def screenshot(tab: Any) -> UInt8Image:
    """What a page looks like: uint8, (H, W, 3), RGB."""
    decoded = cv2.imdecode(np.frombuffer(tab.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)


def undrawn(page: UInt8Image) -> list[str]:
    """What of the view is not seen yet. The picture is in the left half, the curves are in the upper right quarter."""
    height, width = page.shape[:2]
    left, right = page[:, : width // 2], page[: height // 2, width * 3 // 5 :]
    happy = np.array(color_of("happy"))
    found = {
        "the camera's picture": len(np.unique(left.reshape(-1, 3) // 8, axis=0)) > MANY_COLORS,
        "a box": _rows_of(left, happy) > 0,
        "the curves": (np.abs(right.astype(int) - happy) < 30).all(axis=2).sum() > 50,
    }
    return [name for name, seen in found.items() if not seen]


def _rows_of(part: UInt8Image, color: np.ndarray) -> int:
    """Rows in which a straight line of a colour is drawn."""
    return int(((np.abs(part.astype(int) - color) < 30).all(axis=2).sum(axis=1) > 40).sum())


if __name__ == "__main__":
    sys.exit(main())
