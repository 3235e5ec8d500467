"""The reference networks: one table and one seed, so that every framework differentiates the same function."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FORWARD = ("jax jacfwd", "torch vmap(jacfwd)")


@dataclass(frozen=True)
class Workload:
    """`shape` is one sample's, channels last. `layers`, each with the activation's name (or None) at its end where it has one:

    ("dense", width, activation), ("conv", channels, kernel, padding, stride, activation), ("deconv", channels, activation)
    of stride 2 and kernel 3, ("residual", channels, stride), ("pool", size, stride), ("mean",) over places, ("flatten",),
    ("shape", *sizes), ("lstm", width, what is given: "all" steps or the "last") and ("block", heads), a causal pre-norm
    transformer block. Padding is "VALID" or "HALF", kernel // 2 on both sides, as a residual block's; a pool of odd size
    has it too.

    With `whole`, the network is called with the whole batch inside, and J has every sample by every sample: nothing is
    vmapped then, whatever a way's name says. With `sparse`,
    J is asked for as a sparse matrix. `left_out` are ways that were seen to take seconds or gigabytes for what others do in
    milliseconds, or to give no answer in 100 s.

    With `asks`, it is about the Jacobian by the parameters, (N·m, M): its "kernel" J Jᵀ, the "norms" of its rows, the "rows"
    themselves, "push" J v or "pull" Jᵀ u. A "sensitivity" is mean, std and rms over the samples of the Jacobian by the input,
    (3, m, n), "dgsm" ν and the bound of the total Sobol index, (2, n), in float64.
    """

    name: str
    shape: tuple[int, ...]
    layers: tuple[tuple, ...]
    batch: int
    left_out: tuple[str, ...] = ()
    whole: bool = False
    sparse: bool = False
    asks: str = ""


def _dense(*widths, activation):
    return (*(("dense", width, activation) for width in widths[:-1]), ("dense", widths[-1], None))


def _conv(channels, activation="relu", padding="HALF", stride=1):
    return ("conv", channels, 3, padding, stride, activation)


POOL = ("pool", 2, 2)
IMAGES = (_conv(16), _conv(16), _conv(1, None))
RESNET = (("conv", 64, 7, "HALF", 2, "relu"), ("pool", 3, 2),
          *(("residual", channels, 2 if first and channels > 64 else 1)
            for channels in (64, 128, 256, 512) for first in (True, False)),
          ("mean",), ("dense", 10, None))  # fmt: skip
CONV_AUTOENCODER = (_conv(16, stride=2), _conv(32, stride=2), ("flatten",), *_dense(32, 8192, activation="relu")[:2],
                    ("shape", 16, 16, 32), ("deconv", 16, "relu"), ("deconv", 3, None))  # fmt: skip
WORKLOADS = {
    w.name: w
    for w in (
        Workload("mlp_classifier", (784,), _dense(512, 512, 10, activation="relu"), 256, FORWARD),
        Workload("autoencoder", (784,), _dense(512, 32, 512, 784, activation="relu"), 8),
        Workload("square_single", (1024,), _dense(1024, 1024, 1024, 1024, activation="relu"), 1),
        Workload("square_batch", (512,), _dense(512, 512, 512, 512, activation="tanh"), 16),
        Workload("field", (3,), _dense(128, 128, 128, 128, 2, activation="tanh"), 4096),
        Workload("small_cnn", (28, 28, 1), (_conv(32, padding="VALID"), POOL, ("flatten",), ("dense", 10, None)), 64, FORWARD),
        Workload("lenet", (28, 28, 1), (_conv(32, padding="VALID"), POOL, _conv(64, padding="VALID"), POOL, ("flatten",),
                 *_dense(128, 10, activation="relu")), 32, FORWARD),
        Workload("image_to_image", (32, 32, 1), IMAGES, 1),
        Workload("image_to_image_sparse", (32, 32, 1), IMAGES, 1, sparse=True),
        Workload("transformer", (64, 64), (("block", 4),), 1, ("tensorflow batch_jacobian",)),
        Workload("resnet", (64, 64, 3), RESNET, 8, FORWARD),
        Workload("lstm", (64, 64), (("lstm", 64, "all"), ("lstm", 64, "last"), ("dense", 10, None)), 16, FORWARD),
        Workload("conv_autoencoder", (64, 64, 3), CONV_AUTOENCODER, 1),
        Workload("whole_batch", (64,), _dense(256, 256, 64, activation="tanh"), 16, whole=True),
        Workload("tiny", (4,), _dense(5, 3, activation="tanh"), 2),
    )
}  # fmt: skip

MLP = _dense(256, 256, 10, activation="relu")
CIFAR = (("conv", 16, 3, "HALF", 1, "relu"), ("residual", 16, 1), ("residual", 32, 2), ("residual", 64, 2),
         ("mean",), ("dense", 1, None))  # fmt: skip
BY_PARAMETERS = {
    w.name: w
    for w in (
        Workload("kernel_mlp", (784,), MLP, 128, asks="kernel"),
        Workload("kernel_lenet", (28, 28, 1), WORKLOADS["lenet"].layers, 64, asks="kernel"),
        Workload("norms_small_resnet", (32, 32, 3), CIFAR, 64, asks="norms"),
        Workload("norms_resnet", (64, 64, 3), (*RESNET[:-1], ("dense", 1, None)), 64, asks="norms"),
        Workload("rows_mlp", (64,), _dense(32, 10, activation="tanh"), 1024, asks="rows"),
        Workload("push_mlp", (784,), MLP, 128, asks="push"),
        Workload("pull_mlp", (784,), MLP, 128, asks="pull"),
    )
}
"""What `benchmarks.parameters` measures."""

CAPTUM_ALONE = ("neuralsens jacobian_mlp",)
SENSITIVITIES = {
    w.name: w
    for w in (
        Workload("sensitivity_regression", (3,), _dense(20, 1, activation="tanh"), 20_000, asks="sensitivity"),
        Workload("sensitivity_mlp", (32,), _dense(64, 64, 5, activation="tanh"), 4096, asks="sensitivity"),
        Workload(
            "sensitivity_small_cnn", (28, 28, 1), WORKLOADS["small_cnn"].layers, 512, CAPTUM_ALONE, asks="sensitivity"
        ),
        Workload("sensitivity_lenet", (28, 28, 1), WORKLOADS["lenet"].layers, 512, CAPTUM_ALONE, asks="sensitivity"),
        Workload("dgsm_mlp", (20,), _dense(64, 64, 1, activation="tanh"), 4096, asks="dgsm"),
    )
}
"""What `benchmarks.sensitivity` measures."""

LONG = (*FORWARD, "torch loop of grads")
GROWING = {
    "width": {n: Workload(f"width-{n}", (n,), _dense(n, n, n, n, activation="tanh"), 8, LONG) for n in (32, 128, 512, 1024)},
    "depth": {n: Workload(f"depth-{n}", (256,), _dense(*(256,) * n, activation="tanh"), 8, LONG) for n in (2, 4, 8, 16, 32)},
    "batch": {n: Workload(f"batch-{n}", (64,), _dense(256, 256, 10, activation="relu"), n, LONG) for n in (16, 256, 4096)},
    "image": {n: Workload(f"image-{n}", (n, n, 1), IMAGES, 1, LONG) for n in (8, 16, 32, 48)},
    "sequence": {n: Workload(f"sequence-{n}", (n, 64), (("block", 4),), 1, LONG) for n in (8, 16, 32, 64)},
}  # fmt: skip
"""What `benchmarks.scaling` measures, by the size that grows."""

NAMED = WORKLOADS | BY_PARAMETERS | SENSITIVITIES | {w.name: w for sizes in GROWING.values() for w in sizes.values()}


class _Drawing:
    """Weights for layer after layer, and the shape of what comes out."""

    def __init__(self, shape: tuple[int, ...], seed: int) -> None:
        self.shape, self.rng = shape, np.random.default_rng(seed)

    def normal(self, *shape: int, fan: float) -> np.ndarray:
        return (self.rng.standard_normal(shape) / np.sqrt(fan)).astype("float32")

    def kernel(self, size: int, inputs: int, outputs: int) -> np.ndarray:
        return self.normal(size, size, inputs, outputs, fan=size * size * inputs)

    def bias(self, width: int) -> np.ndarray:
        return self.normal(width, fan=100.0)

    def layer(self, kind: str, *rest) -> tuple[np.ndarray, ...]:
        return getattr(self, f"_{kind}")(*rest)

    def _dense(self, width, _activation):
        inputs, self.shape = self.shape[-1], (*self.shape[:-1], width)
        return self.normal(inputs, width, fan=inputs), self.bias(width)

    def _conv(self, channels, kernel, padding, stride, _activation):
        h, w, inputs = self.shape
        lost = kernel - 1 if padding == "VALID" else 0
        self.shape = ((h - lost - 1) // stride + 1, (w - lost - 1) // stride + 1, channels)
        return self.kernel(kernel, inputs, channels), self.bias(channels)

    def _deconv(self, channels, _activation):
        h, w, inputs = self.shape
        self.shape = (2 * h, 2 * w, channels)
        return self.kernel(3, inputs, channels), self.bias(channels)

    def _residual(self, channels, stride):
        inputs = self.shape[-1]
        first, second = self._conv(channels, 3, "HALF", stride, None), self._conv(channels, 3, "HALF", 1, None)
        same = stride == 1 and inputs == channels
        return (*first, *second, *(() if same else (self.kernel(1, inputs, channels),)))

    def _pool(self, size, stride):
        h, w, channels = self.shape
        pad = size // 2 * (size % 2)
        self.shape = (*((n + 2 * pad - size) // stride + 1 for n in (h, w)), channels)
        return ()

    def _mean(self):
        self.shape = self.shape[-1:]
        return ()

    def _flatten(self):
        self.shape = (int(np.prod(self.shape)),)
        return ()

    def _shape(self, *sizes):
        self.shape = sizes
        return ()

    def _lstm(self, width, given):
        steps, inputs = self.shape
        self.shape = (steps, width) if given == "all" else (width,)
        fan = inputs + width
        return self.normal(inputs, 4 * width, fan=fan), self.normal(width, 4 * width, fan=fan), self.bias(4 * width)

    def _block(self, _heads):
        d = self.shape[-1]
        return (
            *(self.normal(d, d, fan=d) for _ in range(4)),
            self.normal(d, 4 * d, fan=d),
            self.normal(4 * d, d, fan=4 * d),
        )


def drawn(workload: Workload, seed: int = 0) -> tuple[list[tuple[np.ndarray, ...]], np.ndarray]:
    """Weights of every layer, (in, out) or (h, w, in, out), and the batch of inputs; float32."""
    drawing = _Drawing(workload.shape, seed)
    weights = [drawing.layer(*layer) for layer in workload.layers]
    return weights, drawing.rng.standard_normal((workload.batch, *workload.shape)).astype("float32")


def directions(workload: Workload, weights) -> tuple[np.ndarray, np.ndarray]:
    """A vector of all parameters, one after another, and one of all outputs of all samples."""
    rng = np.random.default_rng(1)
    size, outputs = sum(int(np.prod(a.shape)) for p in weights for a in p), workload.layers[-1][1]
    return rng.standard_normal(size).astype("float32"), rng.standard_normal(workload.batch * outputs).astype("float32")
