"""`python -m benchmarks.spectrum`: the largest singular values of a parameter Jacobian that memory does not hold.

Of the outputs of 784-125-10 by its 99,385 parameters at 60,000 samples: 600,000 × 99,385 numbers, 222 GiB in float32. From the
factors in this process, and with --workers over a dask cluster, from blocks of rows (a smaller net: 64-100-10, 17 GiB).
"""

from __future__ import annotations

import argparse
import resource
import time

import jax.numpy as jnp
import numpy as np

from benchmarks.parameters_in_jax import Model
from benchmarks.workloads import Workload, drawn

POWERS = 4
"""Passes twice over all blocks; the last few of the values are the worst."""

FROM_FACTORS = (("dense", 125, "tanh"), ("dense", 10, None))
FROM_BLOCKS = (("dense", 100, "tanh"), ("dense", 10, None))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spectrum", description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=60_000)
    parser.add_argument("--values", type=int, default=20, help="how many singular values (default %(default)s)")
    parser.add_argument("--memory", default="4GiB", help="memory budget (default %(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="dask workers; none by default, and no cluster")
    args = parser.parse_args(argv)
    return from_blocks(args) if args.workers else from_factors(args)


def from_factors(args: argparse.Namespace) -> int:
    import netjac as nj

    network, x = _made(784, FROM_FACTORS, args.samples)
    J, start = nj.parameter_matrix(network, x, memory=args.memory), time.perf_counter()
    found = J.svd(args.values)
    _tell(J.shape, time.perf_counter() - start, found[1], resource.RUSAGE_SELF)
    print(f"error bars: at most {np.max(found.errors / found[1]):.1e} of each")
    return 0


def from_blocks(args: argparse.Namespace) -> int:
    import dask.array as da
    from distributed import Client, LocalCluster

    import netjac as nj

    network, x = _made(64, FROM_BLOCKS, args.samples)
    with (
        LocalCluster(
            n_workers=args.workers, threads_per_worker=1, memory_limit=args.memory, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        rows, start = nj.distribute(network, x, client, wrt="parameters"), time.perf_counter()
        s = da.linalg.svd_compressed(rows, args.values, n_power_iter=POWERS, compute=True, seed=0)[1].compute()
        _tell(rows.shape, time.perf_counter() - start, s, resource.RUSAGE_SELF)
        peaks = client.run(lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
        print(f"workers: at most {max(peaks.values()):.1f} GiB each, blocks of {rows.chunks[0][0]} rows")
    exact = nj.parameter_matrix(network, x, memory=args.memory).svd(args.values)
    away = np.abs(s / exact[1] - 1)
    print(
        f"from the factors: {away.max():.1e} away at most, the first half of them {away[: (len(away) + 1) // 2].max():.1e}"
    )
    return 0


def _made(inputs: int, layers: tuple[tuple, ...], samples: int):
    import netjac as nj

    workload = Workload("spectrum", (inputs,), layers, 1)
    weights, _ = drawn(workload)
    rng = np.random.default_rng(0)
    # Samples near a subspace, as images are.
    x = rng.standard_normal((samples, 20)) @ rng.standard_normal((20, inputs)) / 4
    tree = [tuple(map(jnp.asarray, p)) for p in weights]
    return nj.network(Model(workload, tree), batched=True), np.maximum(x, 0).astype("float32")


def _tell(shape: tuple[int, ...], seconds: float, values, whose: int) -> None:
    peak = resource.getrusage(whose).ru_maxrss / 2**20
    print(
        f"{shape[0]:,} × {shape[1]:,} ({shape[0] * shape[1] * 4 / 2**30:.0f} GiB): {seconds:.1f} s, peak {peak:.2f} GiB"
    )
    print("singular values:", " ".join(f"{value:.5g}" for value in np.asarray(values)))


if __name__ == "__main__":
    raise SystemExit(main())
