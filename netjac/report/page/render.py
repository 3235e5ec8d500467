"""The page from what the sections found. Everything is escaped; nothing in the page asks for anything."""

from __future__ import annotations

import base64
import json
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from netjac.analysis.flow.result import plain
from netjac.plan.table import memory, quantity

MOST_BYTES = 5_000_000
MOST_NAME = 120
ASSETS = "netjac.report.page"


def asset(name: str) -> str:
    """The text of a file that comes with the package."""
    return files(ASSETS).joinpath("assets", name).read_text(encoding="utf-8")


def fragment(name: str, **given: Any) -> Markup:
    """A section's inside."""
    return Markup(_environment().get_template(f"{name}.html").render(**given))


def page(title: str, summary: dict[str, Any], parts: list[dict[str, Any]]) -> str:
    """The whole file, at most `MOST_BYTES` long: of parts that are too large only their numbers stay, in the JSON."""
    title = title if len(title) <= MOST_NAME else f"{title[: MOST_NAME - 1]}…"
    while True:
        whole = _page(title, summary, parts)
        if len(whole.encode()) <= MOST_BYTES:
            return whole
        worst = max(range(len(parts)), key=lambda k: _size(parts[k]))
        told = f"This part takes {memory(_size(parts[worst]))} and would make the file too large. Its numbers are in the JSON."
        parts = [
            *parts[:worst],
            {**parts[worst], "html": None, "error": None, "absent": told, "data": None, "scripts": ()},
            *parts[worst + 1 :],
        ]


def escaped_json(data: Any) -> Markup:
    """JSON that stands in a <script> element: no < in it, so that nothing ends it early."""
    text = json.dumps(plain(data), ensure_ascii=False, allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _page(title: str, summary: dict[str, Any], parts: list[dict[str, Any]]) -> str:
    scripts = [Markup(asset("report.js")), *(Markup(text) for part in parts for text in part["scripts"])]
    hashes = " ".join(f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'" for text in scripts)
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {hashes}; base-uri 'none'; "
        "form-action 'none'"
    )
    data = {part["name"]: part["data"] for part in parts if part["data"] is not None}
    return _environment().get_template("page.html").render(
        title=title, summary=summary, parts=parts, policy=policy, scripts=scripts, style=Markup(asset("report.css")),
        data=escaped_json(data),
    )  # fmt: skip


def _size(part: dict[str, Any]) -> int:
    said = (part["html"] or part["error"] or part["absent"] or "").encode()
    return len(said) + len(json.dumps(plain(part["data"]))) + sum(map(len, part["scripts"]))


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader(ASSETS, "assets"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters.update(number=number, quantity=quantity, memory=memory, shape=shape, share=share)
    return made


def number(value: Any) -> str:
    """Three figures; what is not finite in words."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return {"inf": "∞", "-inf": "−∞", "nan": "not a number"}.get(value, value)
    return f"{value:.3g}".replace("-", "−").replace("inf", "∞")


def share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def shape(sizes: Any) -> str:
    return (
        "?" if sizes is None else " × ".join("samples" if size is None else str(size) for size in sizes) or "one number"
    )
