"""The Jacobian of a large image-to-image network, as a sparse matrix: 262,144 × 262,144, within 2 GiB."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import json
import jax, jax.numpy as jnp, numpy as np
import netjac as nj
from benchmarks.worker import most_memory

draw, channels = np.random.default_rng(0), (1, 16, 16, 1)
kernels = [
    jnp.asarray(draw.standard_normal((3, 3, a, b)) / np.sqrt(9 * a), jnp.float32)
    for a, b in zip(channels, channels[1:])
]

def image_to_image(x):
    for place, kernel in enumerate(kernels):
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.nn.relu(x) if place < 2 else x
    return x

x, v = draw.standard_normal((2, 1, 512, 512, 1)).astype("float32")
J = nj.jacobian(nj.network(image_to_image, batched=True), x)
matrix = J.to_scipy()
expected = np.ravel(jax.jvp(image_to_image, (x,), (v,))[1])
print(json.dumps({
    "shape": matrix.shape,
    "entries": matrix.nnz,
    "kind": J.structure.kind,
    "error": float(np.linalg.norm(matrix @ v.ravel() - expected) / np.linalg.norm(expected)),
    "peak": most_memory(),
}))
"""


def test_a_large_images_jacobian_is_sparse_and_fits_in_two_gibibytes():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["shape"] == [512**2, 512**2]
    assert found["entries"] == (7 * 512 - 12) ** 2  # 7 × 7 places, fewer at the edges
    assert found["kind"] == "stencil"
    assert found["error"] < 2e-6
    # Not ru_maxrss: Linux lets a child begin with what its parent held, and pytest holds more.
    assert found["peak"] < 2 * 2**30
    assert found["peak"] > 2**26 or sys.platform != "linux"
