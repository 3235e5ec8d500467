"""`fit`: a network trained by damped Gauss–Newton steps."""

from __future__ import annotations

from typing import Any

from netjac.errors import ShapeError, UnknownNameError
from netjac.networks import Network, network_of
from netjac.networks.jax import JaxNetwork, Parametrised
from netjac.pieces import Options
from netjac.progress import Progress
from netjac.training.damping import Halving, Nielsen, Strategy
from netjac.training.loop import Descent, Limits
from netjac.training.losses import MeanSquares
from netjac.training.problem import Problem
from netjac.training.result import Fit
from netjac.training.samples import Samples
from netjac.training.systems import form_of

METHODS = ("levenberg-marquardt", "gauss-newton")


def fit(
    model: Any,
    X: Any,
    Y: Any,
    *,
    method: str = "levenberg-marquardt",
    loss: str = "mse",
    parameters: Any = None,
    of: str = "output",
    max_iterations: int = 100,
    max_seconds: float | None = None,
    target: float | None = None,
    tolerance: float | None = None,
    batch: int | None = None,
    seed: int = 0,
    validation: tuple[Any, Any] | None = None,
    patience: int = 10,
    form: str | None = None,
    scaled: bool | None = None,
    damping: float = 1e-3,
    acceleration: bool = False,
    precision: str = "highest",
    memory: int | float | str | None = None,
    progress: Progress = None,
) -> Fit:
    """Fit the trainable parameters of a model to targets, by steps that use its Jacobian; the model itself is not changed.

    `model`: anything `netjac.network` takes, with samples along axis 0; or, with `parameters` (a tree of arrays to start from),
    a JAX function f(parameters, x). `X` (N, *in), or a tuple or dict of inputs; `Y` (N, *out), for "cross-entropy" also (N,)
    integers. Arrays may lie on disk: they are read run by run, as many samples as the memory budget allows. What is frozen
    stays as it is. Layers run in inference mode: no dropout, fixed running statistics.

    `method`: "levenberg-marquardt" (damped by Nielsen's rule, IMM-REP-1999-05) or "gauss-newton" (undamped steps, halved until
    the loss falls). `loss`: "mse", the mean of (y − t)², or "cross-entropy", the mean of −log softmax(y)[t] (of one output:
    logistic), y being logits; then JᵀHJ takes the place of JᵀJ (Schraudolph 2002). `of` names the output or layer that is
    fitted, such as "name.pre" for the logits before a softmax.

    It ends after `max_iterations`, `max_seconds` (looked at after every step, so that one is always tried), when the loss is
    at most `target`, when steps change the parameters by less than `tolerance` (relative; by default 1e-10 in float64, 1e-6 in
    float32), or, with `validation=(X, Y)`, when its loss has not improved for `patience` iterations: then the parameters that
    were best there come back, as they do whatever else ended it. Ctrl-C ends it too, and keeps what was found. With `batch`
    the target is the loss of all samples, looked at once for each time round, and `tolerance` is not looked at.

    `batch`: so many samples, drawn anew for each iteration with `seed`. `form`: the linear system's, chosen by size and by the
    network: "projected" where it ends in a linear layer y = h W + b, whose W and b then are at their least-squares optimum at
    every point that is tried (variable projection); "spectral" or "normal" to move all parameters alike; "kernel", "cg" (see
    `netjac.training.systems`). `scaled`: damp each parameter by its own column of J, as Moré does (by default in float64
    with all samples together), else all alike. `damping`: λ at the start. `acceleration`: second-order steps by geodesic
    acceleration (Transtrum & Sethna, arXiv 1201.5885).

    Raises `ShapeError`, `NonFiniteError`, `TooLargeError`, `UnknownNameError` and what `netjac.network` raises.
    """
    if method not in METHODS:
        raise UnknownNameError.of("method", str(method), METHODS)
    limits = Limits(max_iterations, max_seconds, target, tolerance, patience)
    network = _network(model, parameters)
    options = Options(precision=precision, memory=memory, progress=progress)
    samples = Samples.of(X, Y)
    problem = Problem(network, samples, loss, of, options)
    if batch is not None and not 0 < batch <= samples.count:
        raise ShapeError(f"batch={batch} of {samples.count} samples; give a number from 1 to {samples.count}")
    if batch is not None and not problem.may_part:
        raise ShapeError(
            f"{network.name!r} lets samples see each other, so that a batch has another loss; leave batch out"
        )
    if damping <= 0:
        raise ShapeError(f"damping={damping} does not damp; give a positive number, or method='gauss-newton'")
    least = 2.2e-16 if problem.wide else 1e-9
    strategy: Strategy = Nielsen(damping, least) if method == METHODS[0] else Halving(least)
    against = _against_projection(loss, batch, acceleration)
    kind = form_of(problem, batch or samples.count, form, memory, against)
    scaled = problem.wide and batch is None if scaled is None else scaled
    beside = None if validation is None else problem.beside(Samples.of(*validation))
    descent = Descent(problem, strategy, kind, limits, scaled, acceleration, batch, seed, beside, progress)
    return descent.fit(method)


def _against_projection(loss: str, batch: int | None, acceleration: bool) -> str | None:
    """What keeps the last layer from being at its optimum at every step."""
    if loss != MeanSquares.name:
        return f"loss={loss!r} has no optimum in closed form"
    if batch is not None:
        return "the optimum of a batch is not that of all samples"
    return "steps that are bent move all parameters together (acceleration=True)" if acceleration else None


def _network(model: Any, parameters: Any) -> Network:
    if parameters is None:
        return network_of(model, batched=True)
    if not callable(model) or not isinstance(network_of(model, batched=True), JaxNetwork):
        raise ShapeError(
            f"parameters= goes with a JAX function f(parameters, x); {type(model).__name__} has its own, leave them out"
        )
    return JaxNetwork(Parametrised(model, parameters), batched=True)
