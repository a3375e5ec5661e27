"""Efficient attention once more, in NumPy and float64, as the papers and their code have it.

Arrays are those of one layer after its projections: queries, keys and values [B, L, H, K], mask
[B, L]. Nothing is fast here, nothing is shared with plmjax.
"""

import numpy as np


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def weighted(weights_BHLM, value, epsilon=0.0):
    """Values by weights that are made to sum to 1."""
    out = np.einsum("bhlm,bmhk->blhk", weights_BHLM, value)
    return out / (weights_BHLM.sum(-1) + epsilon).transpose(0, 2, 1)[..., None]


def seen(mask, causal):
    length = mask.shape[1]
    order = np.tril(np.ones((length, length))) if causal else np.ones((length, length))
    return mask[:, None, None] * order


def full(query, key, value, mask, causal=False):
    scores = np.einsum("blhk,bmhk->bhlm", query, key) / np.sqrt(query.shape[-1])
    scores = np.where(seen(mask, causal) == 1, scores, -np.inf)
    return weighted(softmax(scores), value)


def linear(query, key, value, mask, causal=False):
    """idiap/fast-transformers: no scale, 1e-6 below."""

    def phi(x):
        return np.where(x > 0, x, np.expm1(np.minimum(x, 0))) + 1

    weights = np.einsum("blhk,bmhk->bhlm", phi(query), phi(key)) * seen(mask, causal)
    return weighted(weights, value, 1e-6)


def favor(query, key, value, mask, directions, causal=False):
    """google-research/performer, nonnegative_softmax_kernel_feature_creator.

    The maximum of keys goes over the row's tokens; for a causal sum it is left out.
    """
    count, width = directions.shape

    def phi(x, largest):
        x = x / width**0.25
        projected = x @ directions.T
        half = (x**2).sum(-1, keepdims=True) / 2
        return (np.exp(projected - half - largest(projected)) + 1e-6) / np.sqrt(count)

    def of_row(projected):
        real = np.where(mask[:, :, None, None] == 1, projected, -np.inf)
        return real.max((1, 3), keepdims=True)

    queries = phi(query, lambda projected: projected.max(-1, keepdims=True))
    keys = phi(key, (lambda projected: 0.0) if causal else of_row)
    return weighted(np.einsum("blhf,bmhf->bhlm", queries, keys) * seen(mask, causal), value)


def generalised(query, key, value, mask, directions, causal=False):
    """google-research/performer, generalized_kernel_feature_creator with ReLU."""
    queries, keys = (np.maximum(x @ directions.T, 0) + 1e-3 for x in (query, key))
    return weighted(np.einsum("blhf,bmhf->bhlm", queries, keys) * seen(mask, causal), value)


def linformer(query, key, value, mask, of_keys, of_values):
    """Projections [H, R, N], whose first L columns count."""
    length = query.shape[1]
    key, value = (
        np.einsum("hrm,bmhk->brhk", projection[..., :length], x * mask[:, :, None, None])
        for projection, x in ((of_keys, key), (of_values, value))
    )
    scores = np.einsum("blhk,brhk->bhlr", query, key) / np.sqrt(query.shape[-1])
    return np.einsum("bhlr,brhk->blhk", softmax(scores), value)


def fastformer(query, key, mask, of_query, of_key, transform):
    """The released notebook; each projection is (kernel, bias), and works on all heads at once."""
    batch, length, heads, width = query.shape

    def mean(x, projection):
        scores = x.reshape(batch, length, -1) @ projection[0] + projection[1]
        scores = scores / np.sqrt(width) + (1 - mask[:, :, None]) * -10000.0
        weights = softmax(scores, axis=1)
        return np.stack(
            [np.einsum("bl,blk->bk", weights[..., h], x[:, :, h]) for h in range(heads)], axis=1
        )

    product = key * mean(query, of_query)[:, None]
    value = query * mean(product, of_key)[:, None]
    out = value.reshape(batch, length, -1) @ transform[0] + transform[1]
    return out.reshape(query.shape) + query
