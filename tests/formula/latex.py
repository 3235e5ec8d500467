"""Whether LaTeX is such that pdflatex with amsmath sets it: checked by its structure, since the suite has no TeX.

Documents of every kind of network that is tested here were once set by pdflatex (TeX Live 2023), without an error.
"""

from __future__ import annotations

import re

MACROS = frozenset(
    re.findall(
        r"\S+",
        r"""\, \; \! \\ \_ \& \% \# \$ \{ \} \alpha \aligned \ast \begin \beta \circ \cos \delta \end \exp \frac \gamma \hat
    \left \log \mathbf \mathrm \mu \otimes \partial \Phi \quad \right \sigma \sin \sqrt \tanh \text \textasciicircum
    \textasciitilde \textbackslash \tilde \times \top \varepsilon \varphi""",
    )
)


def assert_well_formed(latex: str) -> None:
    """Plain ASCII, known macros, and everything that is opened is closed, in order."""
    assert latex.isascii(), [c for c in latex if not c.isascii()]
    macros = set(re.findall(r"\\(?:[A-Za-z]+|.)", latex))
    assert macros <= MACROS, macros - MACROS
    _nested(latex)
    bare = re.sub(r"\\text\{[^{}]*\}", "", latex)
    assert not re.search(r"([_^])(\{[^{}]*\}|\\?\w)\s*\1", bare), "a double script"
    if r"\begin{aligned}" not in latex:
        assert "&" not in latex.replace(r"\&", "")
    assert not re.search(r"(?<!\\)[#%~]", latex)


def _nested(latex: str) -> None:
    waiting: list[str] = []
    for found in re.finditer(r"\\begin\{(\w+)\}|\\end\{(\w+)\}|\\left(.)|\\right(.)|(?<!\\)([{}])", latex):
        opened, closed, left, right, brace = found.groups()
        if opened or left or brace == "{":
            waiting.append(opened or ("left" if left else "{"))
        else:
            assert waiting, found
            assert waiting.pop() == (closed or ("left" if right else "{")), found
    assert not waiting
