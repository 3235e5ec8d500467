"""`Fit`: what a fit found, and how it got there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from netjac.errors import MissingExtraError, ShapeError, UnknownNameError
from netjac.networks import network_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Try:
    """One step that was tried. `loss` is the loss after it, of the samples it was made for; `gradient` the largest entry, in
    magnitude, of the loss's gradient before it; `seconds` since the fit began; `validation` the loss of the validation samples
    after it, where there are any and it was accepted."""

    iteration: int
    loss: float
    damping: float
    gradient: float
    seconds: float
    accepted: bool
    validation: float | None = None


@dataclass(frozen=True, eq=False)
class Fit:
    """The parameters that a fit found, by name, as NumPy arrays; the model it was given is as it was until `apply_to`.

    `loss` is that of all samples at `parameters`, `initial_loss` the one it began from. `stopped` says why it ended;
    `converged`, that it was because no further step would change the parameters by more than the tolerance. `form` is that of
    the linear systems (see `netjac.training.systems`).
    """

    parameters: dict[str, np.ndarray]
    loss: float
    initial_loss: float
    history: tuple[Try, ...]
    stopped: str
    converged: bool
    model: str
    method: str
    kind: str
    form: str
    seconds: float

    @property
    def iterations(self) -> int:
        """Points at which a linear system was made."""
        return self.history[-1].iteration if self.history else 0

    def apply_to(self, model: Any) -> Any:
        """Write the parameters into a model, all or (where one does not fit) none, and return it.

        `model` is the one that was fitted or one like it. Keras models and torch modules are changed in place; of a JAX
        callable, which cannot be, a new one with these parameters comes back. Raises `UnknownNameError`, `ShapeError`.
        """
        network = network_of(model)
        shapes = {name: tuple(array.shape) for name, array in network.parameters.items()}
        for name, array in self.parameters.items():
            if name not in shapes:
                raise UnknownNameError.of(f"parameter of {network.name!r}", name, shapes)
            if shapes[name] != array.shape:
                raise ShapeError(
                    f"{name!r} of {network.name!r} has shape {shapes[name]}, and the fit's {array.shape}; give the model that "
                    "was fitted, or one like it"
                )
        return network.assigned(self.parameters)

    def table(self) -> Any:
        """The history as a pandas DataFrame, a row a try. Raises `MissingExtraError` without pandas."""
        try:
            import pandas
        except ImportError:
            raise MissingExtraError.of("pandas", "tables", "the history as a table") from None
        return pandas.DataFrame([asdict(one) for one in self.history])

    def to_dict(self) -> dict[str, Any]:
        """All but the parameters as plain data, for JSON; losses that are not finite are None."""
        told = {key: value for key, value in vars(self).items() if key not in ("parameters", "history")} | {
            "iterations": self.iterations
        }
        history = [
            {key: value if _plain(value) else None for key, value in asdict(one).items()} for one in self.history
        ]
        return {**told, "parameters": {n: list(a.shape) for n, a in self.parameters.items()}, "history": history}

    def plot(self, path: str | Path | None = None) -> Figure:
        """Loss and damping over time, as a matplotlib figure; with `path`, saved there too."""
        from netjac.report.plots import new_figure, save

        figure = new_figure(7, 4)
        axes = figure.subplots()
        done = [one for one in self.history if one.accepted]
        times, losses = [0.0, *(one.seconds for one in done)], [self.initial_loss, *(one.loss for one in done)]
        axes.semilogy(times, losses, color="#b2182b", label=self.kind)
        if any(one.validation is not None for one in done):
            axes.semilogy(
                [one.seconds for one in done], [one.validation for one in done], color="#2166ac", label="validation"
            )
        axes.semilogy([one.seconds for one in done], [one.damping for one in done], ":", color="0.5", label="damping λ")
        axes.set(title=f"{self.method} on {self.model}", xlabel="seconds")
        axes.legend(frameon=False)
        if path is not None:
            save(figure, path)
        return figure

    def lines(self) -> list[str]:
        tried = len(self.history)
        return [
            f"Fit of {self.model!r} by {self.method}: {self.kind} {self.initial_loss:.6g} → {self.loss:.6g}",
            f"{self.iterations} iterations, {tried} steps tried, {self.seconds:.3g} s; form {self.form!r}",
            f"stopped: {self.stopped}",
        ]

    def __repr__(self) -> str:
        return "\n  ".join(self.lines())

    def _repr_html_(self) -> str:
        from netjac.report.html import paragraph

        return paragraph(self.lines())


def _plain(value: Any) -> bool:
    return not isinstance(value, float) or bool(np.isfinite(value))


def by_name(vector: np.ndarray, shapes: Mapping[str, tuple[int, ...]], columns: Mapping[str, slice]) -> dict[str, Any]:
    """A vector of parameters as arrays by name."""
    return {name: vector[columns[name]].reshape(shape).copy() for name, shape in shapes.items()}
