"""A program's identity: equal keys mean equal computations, whichever functions they were traced from.

What is compiled is kept by this key, so a fresh lambda around the same network in every iteration of a loop is traced again
but never compiled again, and a network that changed is never answered from the old one's plan. What values are called does
not count: each Keras model names its layers anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np

from netjac.graph.program import Equation, Program, flatten
from netjac.points import PRIMITIVE as POINT

T = TypeVar("T")

Above = tuple[Hashable, ...]
"""The functions with derivatives of their own inside whose derivative something is read."""


class Key:
    """A program's identity with its hash worked out once."""

    def __init__(self, content: Hashable) -> None:
        self._content = content
        self._hash = hash(content)

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Key) and self._hash == other._hash and self._content == other._content
        )

    def __hash__(self) -> int:
        return self._hash


class Recent(Generic[T]):
    """What was made of late, by its key: the `most` that were asked for last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: OrderedDict[Hashable, T] = OrderedDict()

    def once(self, place: Hashable, make: Callable[[], T]) -> T:
        """What is kept there, or `make`'s."""
        if place in self._made:
            self._made.move_to_end(place)
            return self._made[place]
        made = self._made[place] = make()
        while len(self._made) > self._most:
            self._made.popitem(last=False)
        return made


def key(program: Program) -> Key:
    """Everything of the program but the values of its constants, and names."""
    return Key(_content(program, ()))


def _content(program: Program, above: Above) -> Hashable:
    return (
        tuple(_type(aval) for aval in program.types),
        program.inputs,
        program.outputs,
        tuple(program.constants),
        tuple((number, _static(value, above)) for number, value in program.literals.items()),
        tuple(
            (eqn.primitive, eqn.operands, _told(eqn, [program.types[n] for n in eqn.operands], above))
            for eqn in program.equations
        ),
    )


def _type(aval: Any) -> Hashable:
    return getattr(aval, "shape", None), str(getattr(aval, "dtype", aval)), bool(getattr(aval, "weak_type", False))


def _told(eqn: Equation, types: Sequence[Any], above: Above) -> Hashable:
    """An equation's static parameters; for a function with a derivative of its own, what the function and it compute.

    Each call of such a function carries an object of its own, so that no two relus would be equal.
    """
    given = eqn.parameters
    if eqn.name == POINT:
        return ()
    smooth = all(jnp.issubdtype(one.dtype, jnp.floating) for one in types)
    if eqn.name != "custom_jvp_call" or given["symbolic_zeros"] or not smooth:
        return _static(given, above)
    own = _static(given["call_jaxpr"], above)
    if own in above:  # the derivative is made from the function's value
        return "itself", above.index(own)
    shapes = [jax.ShapeDtypeStruct(one.shape, one.dtype) for one in types]
    slope = flatten(jax.make_jaxpr(lambda v, t: jax.jvp(lambda *x: eqn.bind(*x), v, t)[1])(shapes, shapes))
    slope.equations = [slope.equations[index] for index in slope.needed(slope.outputs)]  # the value is traced along
    constants = tuple(_static(value, above) for value in slope.constants.values())
    return own, _content(slope, (*above, own)), constants


def _static(value: Any, above: Above) -> Hashable:
    """A static parameter as a hashable; objects without a value of their own stand for themselves."""
    if isinstance(value, jex.ClosedJaxpr):
        return _jaxpr(value.jaxpr, above), tuple(_static(constant, above) for constant in value.consts)
    if isinstance(value, jex.Jaxpr):
        return _jaxpr(value, above)
    if isinstance(value, dict):
        pairs = sorted(value.items(), key=lambda item: str(item[0]))
        return tuple((name, _static(entry, above)) for name, entry in pairs)
    if isinstance(value, list | tuple):
        return type(value).__name__, tuple(_static(entry, above) for entry in value)
    if isinstance(value, np.ndarray | np.generic) or hasattr(value, "__array__"):
        array = np.asarray(value)
        return array.shape, str(array.dtype), array.tobytes()
    if isinstance(value, float):
        return "float", value.hex()
    try:
        hash(value)
    except TypeError:
        return _Same(value)
    return type(value).__name__, value


class _Same:
    """Equal to another only if both hold the very same object, which is kept alive so that its id stays its own."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


def _jaxpr(jaxpr: jex.Jaxpr, above: Above) -> Hashable:
    numbers: dict[Any, int] = {}

    def atom(value: Any) -> Hashable:
        if isinstance(value, jex.Literal):
            return _type(value.aval), _static(value.val, above)
        return numbers.setdefault(value, len(numbers)), _type(value.aval)

    heads = tuple(atom(var) for var in (*jaxpr.constvars, *jaxpr.invars))
    body = tuple(
        (
            eqn.primitive,
            tuple(map(atom, eqn.invars)),
            tuple(map(atom, eqn.outvars)),
            _told(Equation(eqn.primitive, (), (), eqn.params), [var.aval for var in eqn.invars], above),
        )
        for eqn in jaxpr.eqns
    )
    return heads, body, tuple(map(atom, jaxpr.outvars))
