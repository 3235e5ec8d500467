"""A bar on stderr for work in many pieces."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Progress = bool | Callable[[int, int], None] | None


def tracked(pieces: Sequence[Item], progress: Progress, what: str) -> Iterator[Item]:
    """The pieces one by one, told of: by a callback (done, total), or by a bar (None: only on a terminal, of several)."""
    return counted(pieces, len(pieces), False if progress is None and len(pieces) < 2 else progress, what)


def counted(pieces: Iterable[Item], total: int | None, progress: Progress, what: str) -> Iterator[Item]:
    """The same for pieces that come one after another; where it is not known how many, a callback's total is 0."""
    if callable(progress):
        for done, piece in enumerate(pieces):
            yield piece
            progress(done + 1, total or 0)
    elif progress or (progress is None and sys.stderr.isatty()):
        yield from _with_bar(pieces, total, what)
    else:
        yield from pieces


def _with_bar(pieces: Iterable[Item], total: int | None, what: str) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import track

    yield from track(pieces, total=total, description=what, console=Console(stderr=True), transient=True)
