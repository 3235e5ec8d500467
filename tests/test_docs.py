"""Every Python block of the README and the docs runs, each file in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = [
    path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if "```python" in path.read_text()
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_code_of_a_document_runs(path):
    blocks = re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)
    run = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "jax"},
        cwd=ROOT,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]


def test_links_between_documents_lead_somewhere():
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (path.parent / target).exists(), (path.name, target)
