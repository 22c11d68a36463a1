"""Chromium without a window, for the tests that look at pages; they are skipped where it is not installed."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,900",
    "--force-prefers-reduced-motion",  # a picture taken amid a smooth scroll is cut off
)
# Addresses that a page may hold or show without anything being fetched, and the browser's own pages.
_WITHIN = ("data:", "blob:", "about:", "chrome:", "chrome-untrusted:")


@contextmanager
def chromium(profile: Path) -> Iterator[Any]:
    """A driver with a new, empty profile."""
    selenium = pytest.importorskip("selenium", reason="pip install 'medldm[test]' brings selenium")
    del selenium
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("Chromium and its driver are not installed (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    page = webdriver.Chrome(options=options, service=Service(driver))
    try:
        # The browser comes up with a page of its own, which must not speak into the logs of ours.
        page.get("about:blank")
        complaints(page)
        requests(page)
        yield page
    finally:
        page.quit()


def complaints(page: Any) -> list[str]:
    """Errors and warnings of the console since the last time."""
    return [line["message"] for line in page.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]


def requests(page: Any) -> list[str]:
    """Addresses asked for since the last time, but for what lies within the page."""
    messages = [json.loads(line["message"])["message"] for line in page.get_log("performance")]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [address for address in sent if not address.startswith(_WITHIN)]


def wait_for(check: Any, seconds: float = 60.0) -> Any:
    """What ``check`` returns as soon as that is true, or an array."""
    ends = time.monotonic() + seconds
    while True:
        found = check()
        if isinstance(found, np.ndarray) or found:
            return found
        assert time.monotonic() < ends, "the page did not get there"
        time.sleep(0.1)


def press(page: Any, identifier: str) -> None:
    """A click on an element, wherever it is on the page."""
    page.execute_script("document.getElementById(arguments[0]).click()", identifier)
