"""Linformer's attention (Wang et al. 2020); fairseq has one in examples/linformer."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from plmjax.nn.attention import Attention
from plmjax.nn.efficient.kinds import Linformer
from plmjax.nn.efficient.refuse import refuse
from plmjax.nn.initializers import named
from plmjax.nn.layer_settings import LayerSettings
from plmjax.nn.norms import dropout
from plmjax.nn.visible import Visible
from plmjax.parallel.rules import HEADS, POSITIONS, RANK
from plmjax.types import Train


def projection(module: nn.Module, settings: LayerSettings, name: str) -> jax.Array:
    """A parameter of the module: float32 [R, N], or [H, R, N] where heads do not share theirs.

    It begins with the deviation 1 / sqrt(R), which keeps lengths on average (Johnson and
    Lindenstrauss, as in the paper).
    """
    kind = settings.attention
    own = kind.share == "none"
    axes = (HEADS,) * own + (RANK, POSITIONS)
    shape = (settings.num_heads,) * own + (kind.rank, kind.length)
    init = named(nn.initializers.normal(kind.rank**-0.5), *axes)
    return module.param(name, init, shape, jnp.float32)


def shared_projection(module: nn.Module, settings: LayerSettings) -> jax.Array | None:
    """The projection of a stack whose layers share one, as a parameter of the stack; or None."""
    kind = getattr(settings, "attention", None)
    if isinstance(kind, Linformer) and kind.share == "layers":
        return projection(module, settings, "shared_projection")
    return None


class LinformerAttention(Attention):
    """Softmax over R sums of keys, of whose values the same sums are taken: K' = E K, V' = F V.

    Rows that are shorter than the projections are long take their first columns. Padding counts as
    zeros, so what stands there does not matter.
    """

    def mix(
        self,
        query_BLHK: jax.Array,
        key_BMHK: jax.Array,
        value_BMHK: jax.Array,
        visible: Visible,
        train: Train,
    ) -> jax.Array:
        """As of `Attention`; time and memory grow as L * R."""
        s, kind = self.settings, self.settings.attention
        refuse(s, visible, rotary=True)
        kind.check(query_BLHK.shape[1])
        of_keys = visible.shared
        if kind.share != "layers":
            of_keys = projection(self, s, "key_projection")
        of_values = of_keys
        if kind.share in ("none", "heads"):
            of_values = projection(self, s, "value_projection")
        is_token_BM11 = visible.mask_BM[:, :, None, None] == 1

        def summed(projection_RM: jax.Array, x_BMHK: jax.Array) -> jax.Array:
            axes = "HRM" if projection_RM.ndim == 3 else "RM"
            columns = projection_RM[..., : x_BMHK.shape[1]].astype(s.dtype)
            kept_BMHK = jnp.where(is_token_BM11, x_BMHK, 0)
            return jnp.einsum(f"{axes},BMHK->BRHK", columns, kept_BMHK)

        key_BRHK, value_BRHK = summed(of_keys, key_BMHK), summed(of_values, value_BMHK)
        scores_BHLR = jnp.einsum(
            "BLHK,BRHK->BHLR", query_BLHK, key_BRHK, preferred_element_type=jnp.float32
        )
        if s.scale_scores:
            scores_BHLR = scores_BHLR * s.head_size**-0.5
        probabilities_BHLR = jax.nn.softmax(scores_BHLR).astype(s.dtype)
        probabilities_BHLR = dropout(probabilities_BHLR, s.attention_dropout, self, train)
        return jnp.einsum("BHLR,BRHK->BLHK", probabilities_BHLR, value_BRHK)
