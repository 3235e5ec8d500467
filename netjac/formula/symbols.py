"""Names for the factors: W₁ᵀ, φ′₁(z₁), K₁∗, diag(p₁) − p₁p₁ᵀ, numbered in the order of evaluation."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from netjac.formula.definitions import definition, function
from netjac.formula.expression import Atom
from netjac.formula.graph import Graph

DIGITS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
PLAIN = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
STRUCTURE = {
    "weight": "dense",
    "convolution": "convolution (banded)",
    "activation": "diagonal",
    "scaling": "diagonal",
    "softmax": "diagonal minus rank 1, diag(p) − ppᵀ, for each row of scores",
    "norm": "diagonal plus low rank",
    "pooling": "selection or mean over windows",
    "rearrangement": "selection (entries moved or repeated)",
    "negation": "minus the identity",
    "outer": "outer product with the layer's input",
    "partial": "named Jacobian, no closed notation",
    "scan": "product over time of the step's Jacobians",
}
SCALINGS = frozenset(
    {"mul", "div", "add", "sub", "name", "convert_element_type", "reshape", "squeeze", "broadcast_in_dim"}
)
WEIGHTS = ("dot_general", "conv_general_dilated")


@dataclass(frozen=True)
class Symbol:
    """A factor as it is written.

    `shape` is (rows, columns) for one sample; `layer` is the network's own name; `definition` says what the factor is, in
    closed form where there is one.
    """

    text: str
    latex: str
    transposed_text: str
    transposed_latex: str
    shape: tuple[int, int]
    kind: str
    structure: str
    layer: str
    meaning: str
    definition: str
    definition_latex: str


class Namer:
    """Gives each atom its symbol; a weight that is used again keeps its name."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.counts: dict[str, int] = {}
        self.values: dict[int, int] = {}
        self.taken: set[str] = set()
        self.factors: dict[tuple[Any, ...], int] = {}
        self.layers = self._numbered()

    def name(self, atoms: Iterable[Atom]) -> dict[Atom, Symbol]:
        found: dict[Atom, Symbol] = {}
        for atom in atoms:
            if atom not in found:
                found[atom] = self._symbol(atom)
        return found

    def _numbered(self) -> dict[int, int]:
        """Value → the number of the weight that makes it: in the whole network, so that all its formulas agree."""
        graph, roots, found = self.graph, dict[int, int](), dict[int, int]()
        for eqn in graph.program.equations:
            fixed = [n for n in eqn.operands if n not in graph.moving]
            if eqn.name in WEIGHTS and len(fixed) == 1:
                number = roots.setdefault(self._root(fixed[0])[0], len(roots) + 1)
                found[eqn.results[0]] = number
        return found

    def _layer(self, value: int) -> int:
        """The number of the weight that was last used before a value."""
        order = self.graph.order
        return max(((order(v), n) for v, n in self.layers.items() if order(v) <= order(value)), default=(0, 0))[1]

    def _symbol(self, atom: Atom) -> Symbol:
        graph, kind = self.graph, self._kind(atom)
        eqn = graph.equation(atom.head)
        text, latex, flipped, flipped_latex = self._written(atom)
        shape = graph.program.size(atom.head), graph.program.size(atom.tail)
        scan = kind == "partial" and eqn.name in ("scan", "while")
        number = "".join(re.findall("[₀-₉]+[a-z]*", text)[:1])
        defined = definition(graph, atom, kind, number, number.translate(PLAIN))
        layer = graph.owners.get(atom.head, "")
        structure = STRUCTURE["scan" if scan else kind]
        return Symbol(
            text, latex, flipped, flipped_latex, shape, kind, structure, layer, function(graph, atom), *defined
        )

    def _written(self, atom: Atom) -> tuple[str, str, str, str]:
        if atom.kind == "weight":
            return self._weight(atom)
        if atom.kind == "negation":
            return "(−I)", "(-I)", "(−I)", "(-I)"
        if atom.kind == "partial":
            a, b = self._value(atom.head), self._value(atom.tail)
            text = f"(∂u{sub(a)}/∂u{sub(b)})"
            latex = rf"\frac{{\partial u_{{{a}}}}}{{\partial u_{{{b}}}}}"
            return text, latex, f"{text}ᵀ", rf"\left({latex}\right)^{{\top}}"
        if self._kind(atom) == "scaling":
            count = self._next("scaling")
            text, latex = f"D{sub(count)}", f"D_{{{count}}}"
            return text, latex, text, latex
        if atom.kind == "activation":
            n = self._activation(atom)
            text, latex = f"φ′{n.translate(DIGITS)}(z{n.translate(DIGITS)})", rf"\varphi'_{{{n}}}(z_{{{n}}})"
            return text, latex, text, latex
        if atom.kind == "convolution":
            return self._convolution(atom)
        if atom.kind == "outer":
            return self._outer(atom)
        count = self._next(atom.kind)
        n, s = str(count), sub(count)
        if atom.kind == "softmax":
            text, latex = f"(diag(p{s}) − p{s}p{s}ᵀ)", rf"(\mathrm{{diag}}(p_{{{n}}}) - p_{{{n}}} p_{{{n}}}^{{\top}})"
            return text, latex, text, latex
        letter = {"norm": "N", "pooling": "S", "rearrangement": "P"}[atom.kind]
        return f"{letter}{s}", f"{letter}_{{{n}}}", f"{letter}{s}ᵀ", f"{letter}_{{{n}}}^{{\\top}}"

    def _kind(self, atom: Atom) -> str:
        """An activation that is a product with something given by itself is a scaling."""
        names = {self.graph.equation(v).name for v in (*atom.inner, atom.head)}
        plain = atom.kind == "activation" and names <= SCALINGS and not self._squares(atom)
        return "scaling" if plain else atom.kind

    def _squares(self, atom: Atom) -> bool:
        """Whether two paths meet in a product, as in x · σ(x)."""
        path = {atom.tail, *atom.inner}
        return any(sum(n in path for n in self.graph.equation(v).operands) > 1 for v in (*atom.inner, atom.head))

    def _activation(self, atom: Atom) -> str:
        layer = self._layer(atom.head)
        n, place = str(layer), 0
        while n in self.taken:
            place += 1
            n = f"{layer}{lettered(place)}"
        self.taken.add(n)
        return n

    def _weight(self, atom: Atom) -> tuple[str, str, str, str]:
        graph = self.graph
        eqn, program = graph.equation(atom.head), graph.program
        place = 1 - eqn.operands.index(atom.tail)
        root, turned = self._root(eqn.operands[place])
        sides = eqn.parameters["dimension_numbers"][0]
        pairs = sorted(zip(sides[place], sides[1 - place], strict=True))
        contracted, met = tuple(own for own, _ in pairs), tuple(other for _, other in pairs)
        count, axes = len(contracted), len(program.shape(eqn.operands[place]))
        leading = contracted == tuple(range(count))
        plain = leading or contracted == tuple(range(axes - count, axes))
        plain = plain and not eqn.parameters["dimension_numbers"][1][0]
        turned = plain and leading != turned
        n = str(self.layers[atom.head])
        up, up_latex = ("ᵀ", r"^{\top}") if turned else ("", "")
        down, down_latex = ("", "") if turned else ("ᵀ", r"^{\top}")
        repeated = program.size(eqn.operands[place]) != program.size(atom.head) * program.size(atom.tail)
        last = len(program.shape(atom.tail))
        rows = place == 1 and met == tuple(range(last - count, last))
        letter, letter_latex = ("W", "W") if plain and (rows or not repeated) else ("W̃", r"\tilde{W}")
        n += self._again(atom, root)
        s = n.translate(DIGITS)
        text, latex = f"{letter}{s}{up}", f"{letter_latex}_{{{n}}}{up_latex}"
        flip, flip_latex = f"{letter}{s}{down}", f"{letter_latex}_{{{n}}}{down_latex}"
        if repeated and letter == "W":
            return f"(I ⊗ {text})", rf"(I \otimes {latex})", f"(I ⊗ {flip})", rf"(I \otimes {flip_latex})"
        return text, latex, flip, flip_latex

    def _convolution(self, atom: Atom) -> tuple[str, str, str, str]:
        eqn = self.graph.equation(atom.head)
        root = self._root(eqn.operands[1 - eqn.operands.index(atom.tail)])[0]
        n = f"{self.layers[atom.head]}{self._again(atom, root)}"
        s = n.translate(DIGITS)
        return f"K{s}∗", rf"K_{{{n}}}{{\ast}}", f"(K{s}∗)ᵀ", rf"(K_{{{n}}}{{\ast}})^{{\top}}"

    def _outer(self, atom: Atom) -> tuple[str, str, str, str]:
        """A dense layer by its weight: its input's outer product with the identity; a convolution by its kernel: patches."""
        eqn = self.graph.equation(atom.head)
        number = self.layers[atom.head]
        n, s = f"{number - 1}", sub(number - 1)
        if eqn.name == "dot_general" and eqn.operands.index(atom.tail) == 1:
            last = len(self.graph.program.shape(eqn.operands[0])) - 1
            if eqn.parameters["dimension_numbers"] == (((last,), (0,)), ((), ())):
                return f"(h{s}ᵀ ⊗ I)", rf"(h_{{{n}}}^{{\top}} \otimes I)", f"(h{s} ⊗ I)", rf"(h_{{{n}}} \otimes I)"
        text, latex = f"H{s}", f"H_{{{n}}}"
        return text, latex, f"{text}ᵀ", rf"{latex}^{{\top}}"

    def _again(self, atom: Atom, root: int) -> str:
        """ "" for a weight's first matrix, then b, c, …: the same weight may stand for matrices of other sizes."""
        eqn, program = self.graph.equation(atom.head), self.graph.program
        key = (
            root,
            str(eqn.parameters),
            program.shape(atom.head),
            program.shape(atom.tail),
            eqn.operands.index(atom.tail),
        )
        others = [known for known in self.factors if known[0] == root]
        place = self.factors.setdefault(key, len(others))
        return "" if place == 0 else lettered(place)

    def _root(self, value: int) -> tuple[int, bool]:
        """The parameter or constant behind transposes, and whether they turn it over."""
        program, turned = self.graph.program, False
        while value in program.producer:
            eqn = self.graph.equation(value)
            if eqn.name == "transpose" and tuple(eqn.parameters["permutation"]) == (1, 0):
                turned = not turned
            elif eqn.name not in ("convert_element_type", "copy", "transpose"):
                break
            value = eqn.operands[0]
        return value, turned

    def _value(self, value: int) -> int:
        return self.values.setdefault(value, len(self.values) + 1)

    def _next(self, kind: str) -> int:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        return self.counts[kind]


def sub(number: int) -> str:
    return str(number).translate(DIGITS)


def escaped(name: str) -> str:
    """A layer's own name in LaTeX's text mode."""
    signs = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(signs.get(c, rf"\{c}" if c in "_&%#${}" else c) for c in name)


def lettered(place: int) -> str:
    """b for 1, c for 2, …, z for 25, then aa, ab, …: letters alone, as what follows z is a brace that ends a formula."""
    last = chr(ord("a") + place % 26)
    return last if place < 26 else lettered(place // 26 - 1) + last
