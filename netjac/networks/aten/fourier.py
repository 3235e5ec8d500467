"""Complex numbers and Fourier transforms.

torch normalises a transform by 1 (0), 1/√n (1) or 1/n (2), n the number of entries along the transformed axes; JAX by 1
forward and 1/n backward.
"""

from __future__ import annotations

from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from netjac.networks.aten.registry import op


@op("view_as_real", "view_as_real_copy")
def view_as_real(z: Any) -> Any:
    return jnp.stack([z.real, z.imag], -1)


@op("view_as_complex", "view_as_complex_copy")
def view_as_complex(x: Any) -> Any:
    return jax.lax.complex(x[..., 0], x[..., 1])


@op("complex")
def complex_number(real: Any, imaginary: Any) -> Any:
    return jax.lax.complex(*jnp.broadcast_arrays(real, imaginary))


@op("polar")
def polar(length: Any, angle: Any) -> Any:
    return jax.lax.complex(length * jnp.cos(angle), length * jnp.sin(angle))


@op("real")
def real(z: Any) -> Any:
    return z.real


@op("imag")
def imaginary(z: Any) -> Any:
    return z.imag


@op("angle")
def angle(z: Any) -> Any:
    return jnp.angle(z)


@op("_conj", "_conj_copy", "conj_physical", "_conj_physical")
def conjugate(z: Any) -> Any:
    return jnp.conj(z)


def _scaled(z: Any, lengths: list[int], norm: int, unscaled: int) -> Any:
    """`norm` is torch's, of the transform z that JAX normalised as `unscaled` says in torch's terms."""
    power = {0: 0.0, 1: -0.5, 2: -1.0}
    by = power[norm] - power[unscaled]
    return z if by == 0 else z * float(prod(lengths)) ** by


@op("_fft_r2c")
def real_to_complex(x: Any, dim: Any, norm: int, onesided: bool) -> Any:
    z = jnp.fft.rfftn(x, axes=tuple(dim)) if onesided else jnp.fft.fftn(x, axes=tuple(dim))
    return _scaled(z, [x.shape[d] for d in dim], norm, 0)


@op("_fft_c2r")
def complex_to_real(z: Any, dim: Any, norm: int, size: int) -> Any:
    lengths = [*(z.shape[d] for d in dim[:-1]), size]
    return _scaled(jnp.fft.irfftn(z, s=lengths, axes=tuple(dim)), lengths, norm, 2)


@op("_fft_c2c")
def complex_to_complex(z: Any, dim: Any, norm: int, forward: bool) -> Any:
    lengths = [z.shape[d] for d in dim]
    if forward:
        return _scaled(jnp.fft.fftn(z, axes=tuple(dim)), lengths, norm, 0)
    return _scaled(jnp.fft.ifftn(z, axes=tuple(dim)), lengths, norm, 2)


@op("stft")
def short_time_fourier(
    x: Any,
    n: int,
    hop: int | None = None,
    length: int | None = None,
    window: Any = None,
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    *_: Any,
) -> Any:
    """(…, time) → (…, frequency, frame): windows of n entries every `hop`."""
    hop, length = hop or n // 4, length or n
    before = (n - length) // 2
    window = jnp.pad(jnp.ones(length, x.dtype) if window is None else window, (before, n - length - before))
    places = jnp.arange(0, x.shape[-1] - n + 1, hop)[:, None] + jnp.arange(n)
    frames = x[..., places] * window
    whole = onesided is False or jnp.iscomplexobj(frames)
    z = _scaled(jnp.fft.fft(frames) if whole else jnp.fft.rfft(frames), [n], int(normalized), 0)
    z = jnp.swapaxes(z, -1, -2)
    return z if return_complex else view_as_real(z)
