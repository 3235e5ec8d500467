"""Pages driven in headless Chromium, with everything they ask for and complain of written down.

The fixture is shared by way of `tests/conftest.py`. Without Chromium its tests are skipped, or, where
NETJAC_BROWSER=required is set, as continuous integration sets it, they fail.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
DESKTOP, PHONE = (1280, 900), (360, 740)


@dataclass
class Visit:
    """A page that was opened; `requests` but that for the file itself, and `complaints`: of the console, and errors."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@dataclass
class Browser:
    """Chromium, and the pages that it has open."""

    chromium: Any

    def visit(self, path: Path, size: tuple[int, int] = DESKTOP, **options: Any) -> Visit:
        """Open a file. Options as `browser.new_context` of Playwright takes them: color_scheme="dark", has_touch=True."""
        page = self.chromium.new_context(viewport={"width": size[0], "height": size[1]}, **options).new_page()
        visit, own = Visit(page), path.resolve().as_uri()

        def asked(request: Any) -> None:
            if request.url.partition("#")[0] != own:
                visit.requests.append(request.url)

        def said(message: Any) -> None:
            if message.type in ("error", "warning"):
                visit.complaints.append(f"{message.type}: {message.text}")

        page.on("request", asked)
        page.on("console", said)
        page.on("pageerror", lambda error: visit.complaints.append(f"page error: {error}"))
        page.goto(own, wait_until="load")
        return visit


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of a module, not of the session: Playwright's loop runs while it is open, and other tests have loops of their own."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        missing = f"no browser is installed ({', '.join(NAMES)}); Debian's package is chromium"
        if os.environ.get("NETJAC_BROWSER") == "required":
            pytest.fail(missing)
        pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield Browser(chromium)
        chromium.close()
