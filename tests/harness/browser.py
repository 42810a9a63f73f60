"""A headless Chromium of the system, driven by selenium; nothing is downloaded and no network is used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--use-gl=angle",
    "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
    "--disable-extensions", "--hide-scrollbars", "--force-device-scale-factor=1", "--force-color-profile=srgb",
    # Whatever a page asks of a network fails at once.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)  # fmt: skip


def installed() -> bool:
    return CHROMIUM.exists() and DRIVER.exists()


@contextmanager
def opened(profile: Path) -> Iterator[Browser]:
    """A browser while a ``with`` block runs; tests that want one skip where none is installed."""
    if not installed():
        pytest.skip("needs the system's chromium and chromedriver in /usr/bin")
    browser = Browser(profile)
    try:
        yield browser
    finally:
        browser.close()


class Browser:
    """One window; ``profile`` is an empty folder of its own."""

    def __init__(self, profile: Path, size: tuple[int, int] = (1280, 860)) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
        self.driver.set_page_load_timeout(600)
        self.driver.set_script_timeout(600)

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of Chromium's own protocol."""
        return self.driver.execute_cdp_cmd(name, parameters)

    def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        """Size of the page itself, and the colours that the user prefers."""
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = "dark" if dark else "light"
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, index: str | Path, hash: str = "") -> None:
        """Open a page afresh: another hash alone would not load it again."""
        uri = index if isinstance(index, str) else index.resolve().as_uri()
        self.driver.get("about:blank")
        self.driver.get(uri + hash)

    def js(self, body: str, *arguments: Any) -> Any:
        return self.driver.execute_script(body, *arguments)

    def wait(self, condition: str, *arguments: Any, seconds: float = 300) -> Any:
        """Wait until a JavaScript expression is true; gives its value."""
        from selenium.webdriver.support.ui import WebDriverWait

        message = f"never true: {condition}"
        waiting = WebDriverWait(self.driver, seconds, poll_frequency=0.05)
        return waiting.until(lambda _: self.js(f"return {condition}", *arguments), message)

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """One event of the mouse at a point of the page: mouseMoved, mousePressed, mouseReleased."""
        self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.mouse("mousePressed", *start, button="left", clickCount=1, buttons=1)
        for k in (1, 2, 3, 4):
            self.mouse("mouseMoved", *(a + (b - a) * k / 4 for a, b in zip(start, end, strict=True)), buttons=1)
        self.mouse("mouseReleased", *end, button="left", clickCount=1)

    def key(self, name: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.command("Input.dispatchKeyEvent", type=kind, key=name, code=name)

    def complaints(self) -> list[str]:
        """What the console said since the last call, anything above a notice."""
        entries = self.driver.get_log("browser")
        return [json.dumps(entry) for entry in entries if entry["level"] in ("WARNING", "SEVERE")]

    def screenshot(self, path: Path) -> None:
        self.driver.save_screenshot(str(path))

    def close(self) -> None:
        self.driver.quit()
