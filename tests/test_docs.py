"""Every block of Python in README and docs runs, prints what the text beside it says, and every link leads somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


def blocks(page: Path, language: str) -> list[str]:
    return [body for found, body in BLOCK.findall(page.read_text(encoding="utf-8")) if found == language]


def code(page: Path) -> str:
    """The page with all but its Python blanked out, so that a traceback's line numbers are the page's."""
    text = page.read_text(encoding="utf-8")
    kept = {
        number
        for match in BLOCK.finditer(text)
        if match[1] == "python"
        for number in range(text.count("\n", 0, match.start(2)), text.count("\n", 0, match.end(2)))
    }
    return "\n".join(line if number in kept else "" for number, line in enumerate(text.split("\n")))


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda page: page.name)
def test_every_block_of_python_runs_and_prints_what_the_page_shows(page, tmp_path):
    script = tmp_path / page.with_suffix(".py").name
    script.write_text(code(page), encoding="utf-8")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"}
    ran = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, encoding="utf-8", cwd=tmp_path, env=environment
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    for shown in blocks(page, "text"):
        assert shown in ran.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page):
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_pages_with_examples_are_found():
    assert {page.name for page in PAGES if blocks(page, "python")} >= {"README.md", "quickstart.md", "how-it-works.md"}
