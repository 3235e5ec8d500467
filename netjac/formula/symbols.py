"""Names for the factors: W₁ᵀ, φ′₁(z₁), K₁∗, diag(p₁) − p₁p₁ᵀ, numbered in the order of evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from netjac.formula.expression import Atom
from netjac.formula.graph import Graph

DIGITS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
STRUCTURE = {
    "weight": "dense",
    "convolution": "convolution (banded)",
    "activation": "diagonal",
    "softmax": "diagonal minus rank 1, diag(p) − ppᵀ, for each row of scores",
    "norm": "diagonal plus low rank",
    "pooling": "selection or mean over windows",
    "rearrangement": "selection (entries moved or repeated)",
    "negation": "minus the identity",
    "outer": "outer product with the layer's input",
    "partial": "named Jacobian, no closed notation",
    "scan": "product over time of the step's Jacobians",
}
SYMMETRIC = frozenset({"activation", "softmax", "negation"})


@dataclass(frozen=True)
class Symbol:
    """A factor as it is written. `shape` is (rows, columns) for one sample; `layer` is the network's own name."""

    text: str
    latex: str
    transposed_text: str
    transposed_latex: str
    shape: tuple[int, int]
    kind: str
    structure: str
    layer: str
    meaning: str


class Namer:
    """Gives each atom its symbol; a weight that is used again keeps its name."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.counts: dict[str, int] = {}
        self.weights: dict[tuple[int, ...], int] = {}
        self.values: dict[int, int] = {}
        self.taken: set[str] = set()
        self.layer = 0

    def name(self, atoms: Iterable[Atom]) -> dict[Atom, Symbol]:
        found: dict[Atom, Symbol] = {}
        for atom in atoms:
            if atom not in found:
                found[atom] = self._symbol(atom)
        return found

    def _symbol(self, atom: Atom) -> Symbol:
        graph, kind = self.graph, atom.kind
        eqn = graph.equation(atom.head)
        text, latex, flipped, flipped_latex = self._written(atom)
        shape = graph.program.size(atom.head), graph.program.size(atom.tail)
        scan = kind == "partial" and eqn.name in ("scan", "while")
        functions = [graph.equation(v).name for v in (*sorted(atom.inner, key=graph.order), atom.head)]
        meaning = " ∘ ".join(dict.fromkeys(n for n in reversed(functions) if n != "name"))
        layer = graph.owners.get(atom.head, "")
        structure = STRUCTURE["scan" if scan else kind]
        return Symbol(text, latex, flipped, flipped_latex, shape, kind, structure, layer, meaning)

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
        if atom.kind == "activation":
            n = self._activation()
            text, latex = f"φ′{n.translate(DIGITS)}(z{n.translate(DIGITS)})", rf"\varphi'_{{{n}}}(z_{{{n}}})"
            return text, latex, text, latex
        n = self._next(atom.kind)
        s = sub(n)
        if atom.kind == "softmax":
            text, latex = f"(diag(p{s}) − p{s}p{s}ᵀ)", rf"(\mathrm{{diag}}(p_{{{n}}}) - p_{{{n}}} p_{{{n}}}^{{\top}})"
            return text, latex, text, latex
        if atom.kind == "convolution":
            return f"K{s}∗", rf"K_{{{n}}} \ast", f"(K{s}∗)ᵀ", rf"(K_{{{n}}} \ast)^{{\top}}"
        letter = {"norm": "N", "pooling": "S", "rearrangement": "P", "outer": "H"}[atom.kind]
        return f"{letter}{s}", f"{letter}_{{{n}}}", f"{letter}{s}ᵀ", f"{letter}_{{{n}}}^{{\\top}}"

    def _activation(self) -> str:
        n, suffix = str(self.layer), "a"
        while n in self.taken:
            suffix = chr(ord(suffix) + 1)
            n = f"{self.layer}{suffix}"
        self.taken.add(n)
        return n

    def _weight(self, atom: Atom) -> tuple[str, str, str, str]:
        graph = self.graph
        eqn, program = graph.equation(atom.head), graph.program
        place = 1 - eqn.operands.index(atom.tail)
        root, turned = self._root(eqn.operands[place])
        contracted = eqn.parameters["dimension_numbers"][0][place]
        plain = len(program.shape(eqn.operands[place])) == 2 and len(contracted) == 1
        turned = plain and (contracted[0] == 0) != turned
        key = root, int(turned), program.size(atom.head), program.size(atom.tail)
        if key not in self.weights:
            self.layer = self.weights[key] = self.layer + 1
        n = self.weights[key]
        up, up_latex = ("ᵀ", r"^{\top}") if turned else ("", "")
        down, down_latex = ("", "") if turned else ("ᵀ", r"^{\top}")
        text, latex, flip, flip_latex = (
            f"W{sub(n)}{up}", f"W_{{{n}}}{up_latex}", f"W{sub(n)}{down}", f"W_{{{n}}}{down_latex}",
        )  # fmt: skip
        if plain and program.size(eqn.operands[place]) != program.size(atom.head) * program.size(atom.tail):
            return f"(I ⊗ {text})", rf"(I \otimes {latex})", f"(I ⊗ {flip})", rf"(I \otimes {flip_latex})"
        return text, latex, flip, flip_latex

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
