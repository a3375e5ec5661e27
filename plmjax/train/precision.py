"""Which dtype to compute in, and in which dtype parameters reach the computation."""

import time
from typing import Any

import jax
import jax.numpy as jnp


def fastest_dtype() -> str:
    """`bfloat16` on TPU and GPU; on a CPU whichever multiplies matrices faster, measured.

    A feed-forward layer and its gradient, 1024 positions, 256 wide, the two dtypes in turn, best
    of five: under two seconds, compilation included. Many CPUs emulate bfloat16 and are slower.
    """
    if jax.default_backend() != "cpu":
        return "bfloat16"

    @jax.jit
    def loss(x_BD, in_DF, out_FD):
        return (jax.nn.gelu(x_BD @ in_DF) @ out_FD).astype(jnp.float32).sum()

    step = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
    key = jax.random.key(0)
    shapes = ((1024, 256), (256, 1024), (1024, 256))
    arguments = {
        dtype: [jax.random.normal(key, shape, dtype) for shape in shapes]
        for dtype in ("float32", "bfloat16")
    }
    best = dict.fromkeys(arguments, float("inf"))
    for attempt in range(6):
        for dtype, values in arguments.items():
            begin = time.perf_counter()
            jax.block_until_ready(step(*values))
            if attempt:  # the first compiles
                best[dtype] = min(best[dtype], time.perf_counter() - begin)
    return min(best, key=best.get)


def bfloat16_kernels(params: Any, shardings: Any) -> Any:
    """What a step computes with, of float32 parameters: the kernels of dense layers in bfloat16.

    The copy lies where the parameters lie, so that what is gathered from the devices that share a
    kernel, and its gradient that is summed over those that share the batch, are bfloat16 too.

    Norms, biases and tables stay as they are. A kernel's gradient is a matrix product, which adds
    in float32 and is rounded once; a table's is added up row by row, and in bfloat16 the sum of a
    frequent token stands still when it is 256 times as large as what comes.

    Args:
      params: the state's.
      shardings: theirs.
    """

    def copied(path: tuple, param: jax.Array, sharding: jax.sharding.Sharding) -> jax.Array:
        if path[-1].key != "kernel":
            return param
        return jax.lax.with_sharding_constraint(param.astype(jnp.bfloat16), sharding)

    return jax.tree_util.tree_map_with_path(copied, params, shardings)
