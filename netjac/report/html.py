"""Results as HTML for notebooks: a paragraph, facts, rows, or text as it stands. Whatever is told is escaped here, once.

Names come from users' models and tables, and a layer may well be called `<script>`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

LEFT = "text-align:left;vertical-align:top;white-space:pre-wrap"


def paragraph(lines: Sequence[str]) -> str:
    """Lines of text, the first of them bold."""
    first, *rest = map(escape, lines)
    return f"<p><b>{first}</b>{''.join(f'<br>{line}' for line in rest)}</p>"


def preformatted(text: str) -> str:
    """Text whose columns stand below each other, as in a terminal."""
    return f"<pre>{escape(text)}</pre>"


def facts(caption: str, told: Iterable[tuple[str, str]]) -> str:
    """Names with what is told of each, one below the other."""
    cells = (
        f"<tr><th style='{LEFT}'>{escape(name)}</th><td style='{LEFT}'>{escape(text)}</td></tr>" for name, text in told
    )
    return f"<table><caption>{escape(caption)}</caption><tbody>{''.join(cells)}</tbody></table>"


def rows(
    head: Sequence[str], body: Iterable[Sequence[str]], caption: Sequence[str] = (), notes: Sequence[str] = ()
) -> str:
    """A table with a line of column names, lines of caption above it and notes below."""
    told = "<br>".join(map(escape, caption))
    columns = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>" for cells in body)
    above = f"<caption>{told}</caption>" if told else ""
    below = f"<p>{'<br>'.join(map(escape, notes))}</p>" if notes else ""
    return f"<table>{above}<thead><tr>{columns}</tr></thead><tbody>{lines}</tbody></table>{below}"
