"""Calls of full attention that every implementation has to compute alike."""

from dataclasses import dataclass
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from plmjax.models import bert
from plmjax.nn.implementations import xla
from plmjax.nn.visible import Visible


@dataclass(frozen=True)
class Case:
    """padded, packed: whether rows have padding, and several texts. keys: of a source; 0 for none.

    rows, length, heads, width: B, L, H, K.
    """

    causal: bool = False
    padded: bool = True
    packed: bool = False
    reach: int = 0
    keys: int = 0
    rows: int = 2
    length: int = 256
    heads: int = 2
    width: int = 16
    dtype: str = "float32"

    @property
    def settings(self):
        config = bert.Config(
            num_heads=self.heads, hidden_size=self.heads * self.width, dtype=self.dtype
        )
        return config.layer(attention_dropout=0.0, reach=self.reach)

    @property
    def visible(self) -> Visible:
        """Padding stands behind in one row and in front in the other."""
        rng = np.random.default_rng(1)
        mask_BL = np.ones((self.rows, self.length), np.int32)
        if self.padded:
            mask_BL[0, -self.length // 5 :] = 0
            mask_BL[1, : self.length // 7] = 0
        segments_BL = np.sort(rng.integers(1, 5, mask_BL.shape), axis=1) if self.packed else None
        if not self.keys:
            return Visible(jnp.asarray(mask_BL), segments_BL, causal=self.causal)
        source_BS = np.ones((self.rows, self.keys), np.int32)
        source_BS[0, -self.keys // 3 :] = 0
        numbers_BS = np.tile(1 + np.arange(self.keys) % 4, (self.rows, 1)) if self.packed else None
        return Visible(
            jnp.asarray(mask_BL),
            segments_BL,
            source_mask_BS=jnp.asarray(source_BS),
            source_segments_BS=numbers_BS,
        )

    @property
    def seen(self) -> Visible:
        return self.visible.of_source() if self.keys else self.visible

    def arrays(self) -> tuple[jax.Array, ...]:
        """Queries, keys, values, and what each result is worth; 0 where nobody looks."""
        rng = np.random.default_rng(0)
        lengths = (self.length, self.keys or self.length, self.keys or self.length, self.length)
        shape = (self.heads, self.width)
        made = [jnp.asarray(rng.normal(size=(self.rows, n, *shape)), self.dtype) for n in lengths]
        # Real tokens look and are looked at; so does padding where it sees what they do.
        looked_BL = np.asarray(self.seen.allowed(self.length, self.reach)).any(-1)
        return (*made[:3], made[3] * np.broadcast_to(looked_BL, made[3].shape[:2])[..., None, None])

    def expected(self, query, key, value) -> jax.Array:
        """By the mask, every pair scored."""
        module = SimpleNamespace(settings=self.settings, cross=bool(self.keys))
        return xla.every_pair(module, query, key, value, self.visible, False)


CASES = {
    "everything": Case(padded=False),
    "padding": Case(),
    "segments": Case(packed=True),
    "causal": Case(causal=True),
    "causal segments": Case(causal=True, packed=True),
    "window": Case(reach=13),
    "causal window of segments": Case(causal=True, reach=20, packed=True),
    "a source": Case(keys=128),
    "a source of segments": Case(keys=128, packed=True),
}


def outcome(compute, worth, *arrays) -> dict[str, np.ndarray]:
    """Results where somebody looks, and gradients of queries, keys and values."""

    def loss(*arrays):
        made = compute(*arrays)
        return (made.astype(jnp.float32) * worth.astype(jnp.float32)).sum(), made

    (_, made), grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))(*arrays)
    looked = np.asarray(worth).any((-1, -2))
    named = dict(zip(("query", "key", "value"), grads, strict=True))
    return {"values": np.asarray(made, np.float32)[looked]} | {
        name: np.asarray(grad, np.float32) for name, grad in named.items()
    }
