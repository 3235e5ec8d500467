"""SVG as text: elements with everything escaped, and the style sheet that all drawings share.

Colours are variables of the drawing itself, for light and for dark surroundings; nothing is loaded from elsewhere, and no
element has an id, so that several drawings may stand in one page.
"""

from __future__ import annotations

from xml.sax.saxutils import escape

STYLE = """
.nj-drawing{--ink:#1f2430;--faint:#667085;--line:#98a2b3;--paper:#ffffff;--card:#f6f7f9;--edge:#cfd4dc;--fill:#2b6cb0;
--soft:#bcd4ee;--plus:#b2182b;--minus:#2166ac;font-family:system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
@media (prefers-color-scheme:dark){.nj-drawing{--ink:#e8eaf0;--faint:#a3acbd;--line:#7d8798;--paper:#14171d;--card:#1e232c;
--edge:#3b4351;--fill:#7ab3ec;--soft:#2c4a6b;--plus:#f4806a;--minus:#74b3f0}}
.nj-drawing text{fill:var(--ink);font-size:12px}.nj-drawing .n{font-weight:600}
.nj-drawing .s{fill:var(--faint);font-size:10.5px}
.nj-drawing .t{font-weight:600;font-size:14px}.nj-drawing .big{font-size:17px}.nj-drawing .p{fill:var(--paper)}
.nj-drawing .c{fill:var(--card);stroke:var(--edge)}.nj-drawing .o{stroke:var(--ink);stroke-width:1.6}
.nj-drawing .w{fill:none;stroke:var(--line);stroke-width:1.4}.nj-drawing .h{fill:var(--line)}
.nj-drawing .g{fill:var(--paper);stroke:var(--faint)}.nj-drawing .f{fill:var(--fill)}.nj-drawing .v{fill:var(--soft)}
.nj-drawing .l{stroke:var(--fill);stroke-width:1.8;fill:none}.nj-drawing .d{stroke:var(--faint);fill:none;stroke-dasharray:2 2}
.nj-drawing .plus{stroke:var(--plus)}.nj-drawing .minus{stroke:var(--minus)}.nj-drawing .none{stroke:var(--line)}
.nj-drawing .u{fill:var(--card);stroke:var(--ink)}.nj-drawing .m{text-anchor:middle}.nj-drawing .e{text-anchor:end}
"""


def element(tag: str, *children: str, **attributes: object) -> str:
    """An element; names of attributes have _ for -, a trailing _ is dropped. Children are markup already."""
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_quoted(_short(value))}"' for name, value in attributes.items()
    )
    return f"<{tag}{given}>{''.join(children)}</{tag}>" if children else f"<{tag}{given}/>"


def text(words: str, x: float, y: float, style: str = "") -> str:
    return element("text", escaped(words), x=x, y=y, **({"class_": style} if style else {}))


def title(words: str) -> str:
    return element("title", escaped(words))


def document(width: float, height: float, label: str, *children: str) -> str:
    """A drawing of this size; `label` is what is read out in its place."""
    return element(
        "svg",
        title(label),
        element("style", escaped(STYLE)),
        element("rect", class_="p", width=width, height=height),
        *children,
        xmlns="http://www.w3.org/2000/svg",
        class_="nj-drawing",
        role="img",
        aria_label=label,
        viewBox=f"0 0 {_short(width)} {_short(height)}",
        width=width,
        height=height,
        style="max-width:100%;height:auto",
    )


def escaped(words: str) -> str:
    """Text for XML, without the characters that XML cannot hold."""
    return escape(_legal(words))


def shortened(words: str, most: int) -> str:
    return words if len(words) <= most else f"{words[: most - 1]}…"


def _quoted(words: str) -> str:
    return escape(_legal(words), {'"': "&quot;", "\n": "&#10;"})


def _legal(words: str) -> str:
    return "".join(
        c if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c not in "\ufffe\uffff" else "�" for c in words
    )


def _short(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
