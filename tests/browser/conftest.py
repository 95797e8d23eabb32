"""A browser, which the tests of this folder drive."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FIX = "Install one (on Debian: apt install chromium)."


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium; without one tests are skipped, but fail where the environment variable CI is set."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        reason = f"none of {', '.join(BROWSERS)} is on PATH. {FIX}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    # Chromium refuses to run as root inside its sandbox.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=arguments)
        yield started
        started.close()
