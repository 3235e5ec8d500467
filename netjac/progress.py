"""A bar on stderr for work in many pieces."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Progress = bool | Callable[[int, int], None] | None


def tracked(pieces: Sequence[Item], progress: Progress, what: str) -> Iterator[Item]:
    """The pieces one by one, told of: by a callback (done, total), or by a bar (None: only on a terminal)."""
    if callable(progress):
        for done, piece in enumerate(pieces):
            yield piece
            progress(done + 1, len(pieces))
    elif progress or (progress is None and len(pieces) > 1 and sys.stderr.isatty()):
        yield from _with_bar(pieces, what)
    else:
        yield from pieces


def _with_bar(pieces: Iterable[Item], what: str) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import track

    yield from track(pieces, description=what, console=Console(stderr=True), transient=True)
