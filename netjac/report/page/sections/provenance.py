"""Where the numbers came from, and how to have them again."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from netjac.report.page.section import Found, Section
from netjac.report.page.subject import Subject
from netjac.scale.identity import of_program, of_samples, of_weights

PACKAGES = {
    "keras": ("keras", "tensorflow", "torch"),
    "torch": ("torch",),
    "tensorflow": ("tensorflow",),
    "sklearn": ("scikit-learn",),
    "onnx": ("onnx", "onnxruntime"),
}
HASHED_BYTES = 2**28


def find(subject: Subject) -> Found:
    """Versions, digests (BLAKE2b, 128 bits) and the command."""
    import netjac

    framework = next((packages for name, packages in PACKAGES.items() if name in subject.network.framework.lower()), ())
    versions = {"netjac": netjac.__version__, "python": platform.python_version()}
    for package in ("jax", "numpy", *framework):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    whole = _bytes(subject) <= HASHED_BYTES
    data = subject.first(subject.total) if whole else subject.at(subject.chosen)
    numbers: dict[str, Any] = {
        "versions": versions,
        "platform": platform.platform(terse=True),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": subject.seed,
        "precision": subject.precision,
        "weights": of_weights(subject.point),
        "program": of_program(subject.point, subject.of) if subject.network.batched and not subject.large else None,
        "data": of_samples(data if isinstance(data, dict) else np.asarray(data)).hex(),
        "data_hashed": "all samples" if whole else f"the samples {', '.join(map(str, subject.chosen))}",
        "samples": subject.total,
        "dtype": str(subject.J.dtype),
        "command": subject.command,
    }
    return Found(numbers)


def _bytes(subject: Subject) -> int:
    arrays = subject.data.values() if isinstance(subject.data, dict) else [subject.data]
    return sum(int(np.prod(np.shape(a), dtype=np.int64)) * 8 for a in arrays)


SECTION = Section("provenance", "Provenance", "What the page was made of, and how to make it again.", find)
