"""What a plan does about windows: one factor is read through another's, or they are joined, made bands, or placed."""

from __future__ import annotations

from collections.abc import Collection

from netjac.factors.pattern import Pattern, Window, renumbered
from netjac.factors.product import matched
from netjac.factors.taps import bandable, banded, entangled, joined, placed, unsettled
from netjac.factors.window import opened, read, shifted
from netjac.plan.account import Account, Stored


def facing(account: Account, left: Stored, right: Stored) -> tuple[Stored, Stored]:
    """Both without windows where they meet: each is read through the other's, or the windows are placed."""
    left, right = _readable(account, left, right)
    ours, theirs = [], []
    for axis in range(len(left.pattern.inn)):
        window, other = _on(left.pattern, axis, "inn"), _on(right.pattern, axis, "out")
        if window is not None:
            if other is not None:
                moved = shifted(right.pattern, other, window)
                assert moved is not None, "a window that cannot be read through was not placed"
                window, right = moved[0], Stored(right.register, moved[1])
            ours.append(window.label)
            right = _read(account, right, axis, window, left.pattern)
        elif other is not None:
            theirs.append(other.label)
            turned = Stored(left.register, left.pattern.transposed())
            found = _read(account, turned, axis, other, right.pattern)
            left = Stored(found.register, found.pattern.transposed())
    unturned = opened(right.pattern.transposed(), theirs).transposed()
    return Stored(left.register, opened(left.pattern, ours)), Stored(right.register, unturned)


def _readable(account: Account, left: Stored, right: Stored) -> tuple[Stored, Stored]:
    """Both with those windows placed that the other one cannot be read through: where an axis has several atoms."""
    for axis in range(len(left.pattern.inn)):
        window, other = _on(left.pattern, axis, "inn"), _on(right.pattern, axis, "out")
        several = len(left.pattern.inn[axis]) > 1 or len(right.pattern.out[axis]) > 1
        if other is not None and (several or (window is not None and shifted(right.pattern, other, window) is None)):
            return _readable(account, left, _placed(account, right, right.pattern.windows.index(other)))
        if window is not None and several:
            return _readable(account, _placed(account, left, left.pattern.windows.index(window)), right)
    return left, right


def _on(pattern: Pattern, axis: int, side: str) -> Window | None:
    """The window whose label stands on an axis, the first if there are several."""
    labels = getattr(pattern, side)[axis]
    return next((w for w in pattern.windows if w.label in labels), None)


def _read(account: Account, term: Stored, axis: int, window: Window, owner: Pattern) -> Stored:
    """The term at the places along one of its out axes that another factor's window reaches."""
    sizes = [owner.sizes[n] for n, _ in window.terms]
    strides = [stride for _, stride in window.terms]
    plan = read(term.pattern, term.pattern.out[axis][0], sizes, strides, window.offset, window.clean)
    return account.emit("relabel" if plan.free else "read", (term,), plan.pattern, plan, 0)


def settled(account: Account, term: Stored) -> Stored:
    """Each window with at most one hidden term, and none that nothing else names."""
    while (place := unsettled(term.pattern)) is not None:
        other = entangled(term.pattern, place)
        if other is not None:
            term = _placed(account, term, other)
            continue
        plan = joined(term.pattern, place)
        operations = plan.pattern.entries * (plan.copies - 1)
        term = account.emit("join", (term,), renumbered(plan.pattern), plan, operations)
    return term


def plain(account: Account, term: Stored) -> Stored:
    """The term without windows: every number at its place."""
    while term.pattern.windows:
        term = _placed(account, term, 0)
    return term


def _placed(account: Account, term: Stored, place: int) -> Stored:
    plan = placed(term.pattern, place)
    return account.emit("place", (term,), renumbered(plan.pattern), plan, plan.pattern.entries)


def cut(account: Account, left: Stored, right: Stored) -> tuple[Stored, Collection[int]]:
    """Right in the atoms that it has in common with left where it has windows, and its labels that are summed over."""
    if not right.pattern.windows:
        return right, ()
    ours, step, pairs = matched(left.pattern, right.pattern)
    along = {theirs for own, theirs in pairs if own not in ours.pattern.out_labels}
    if step.pattern == right.pattern or not any(bandable(w, step.pattern, along) for w in step.pattern.windows):
        return right, along
    return account.emit("relabel", (right,), step.pattern, step, 0), along


def band(account: Account, right: Stored, along: Collection[int]) -> Stored:
    """The first of right's windows that can be is joined with what will be summed over."""
    place = next(i for i, w in enumerate(right.pattern.windows) if bandable(w, right.pattern, along))
    plan = banded(right.pattern, place, [n for n, _ in right.pattern.windows[place].terms if n in along])
    return account.emit("band", (right,), plan.pattern, plan, plan.pattern.entries)
