"""A sparse Jacobian from few products: columns (or rows) that share no row (no column) are computed together.

Each colour is one product with the sum of its columns' basis vectors, and each entry of a row then comes from one column
alone (Curtis, Powell and Reid, On the estimation of sparse Jacobian matrices, 1974; Griewank and Walther, ch. 8).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse

Products = Callable[[str, np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Colouring:
    """`colours[i]` is the colour of column i ("push") or row i ("pull") of the pattern; `count` of them are used."""

    pattern: scipy.sparse.csr_array
    direction: str
    colours: np.ndarray
    count: int

    def seeds(self, dtype: np.dtype) -> np.ndarray:
        """(count, columns or rows): for each colour the sum of its basis vectors."""
        found = np.zeros((self.count, len(self.colours)), dtype)
        found[self.colours, np.arange(len(self.colours))] = 1
        return found

    def entries(self, products: np.ndarray) -> scipy.sparse.csr_array:
        """The matrix from the products with `seeds`, (count, rows or columns)."""
        pattern = self.pattern
        rows, columns = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr)), pattern.indices
        place = (self.colours[columns], rows) if self.direction == "push" else (self.colours[rows], columns)
        return scipy.sparse.csr_array((products[place], columns, pattern.indptr), pattern.shape)


def coloured(pattern: scipy.sparse.csr_array, pushes: bool, pulls: bool) -> Colouring:
    """By columns or by rows, whichever takes fewer products of those that can be had; at least one can."""
    ways = []
    if pushes:
        ways.append(Colouring(pattern, "push", *_greedy(pattern.tocsc(), pattern)))
    if pulls:
        ways.append(Colouring(pattern, "pull", *_greedy(pattern, pattern.tocsc())))
    return min(ways, key=lambda way: way.count)


def _greedy(own: scipy.sparse.csr_array, other: scipy.sparse.csr_array) -> tuple[np.ndarray, int]:
    """The first free colour for one line after another, in the order that needs fewer of them: as they come, or the fullest
    first; `own` is compressed along the lines."""
    count = len(own.indptr) - 1
    orders = (np.arange(count), np.argsort(-np.diff(own.indptr), kind="stable"))
    return min((_first_free(own, len(other.indptr) - 1, order) for order in orders), key=lambda found: found[1])


def _first_free(own: scipy.sparse.csr_array, crossings: int, order: np.ndarray) -> tuple[np.ndarray, int]:
    """The colours that a crossing line has met are a set of bits."""
    met = [0] * crossings
    colours = np.zeros(len(order), np.int64)
    for line in order:
        crossing = own.indices[own.indptr[line] : own.indptr[line + 1]].tolist()
        taken = 0
        for place in crossing:
            taken |= met[place]
        free = ~taken & (taken + 1)
        colours[line] = free.bit_length() - 1
        for place in crossing:
            met[place] |= free
    return colours, int(colours.max(initial=-1)) + 1
