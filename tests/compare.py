"""How tests measure the distance of arrays and trees."""

from typing import Any

import jax
import numpy as np


def deviation(ours: Any, theirs: Any) -> float:
    """max|a-b| / max|b|: relative to the largest, so that values near zero do not count alone."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    assert np.isfinite(ours).all()
    largest = np.abs(theirs).max()
    return float(np.abs(ours - theirs).max() / (largest or 1.0))


def leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by their path, its names joined by '/'."""
    flat = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(keys, simple=True, separator="/"): leaf for keys, leaf in flat}


def deviations(ours: Any, theirs: Any) -> dict[str, float]:
    """`deviation` leaf by leaf, by path."""
    ours, theirs = leaves(ours), leaves(theirs)
    assert sorted(ours) == sorted(theirs)
    return {path: deviation(ours[path], theirs[path]) for path in ours}


def gradient_deviations(ours: Any, theirs: Any) -> dict[str, float]:
    """`deviations` of gradients, those of key biases relative to the query biases'.

    What is added to all keys alike changes no probability: the true gradient is 0.
    """
    found, by_path, expected = deviations(ours, theirs), leaves(ours), leaves(theirs)
    for path in [path for path in found if path.endswith("key/bias")]:
        scale = np.abs(expected[path.replace("key/bias", "query/bias")]).max()
        found[path] = float(np.abs(by_path[path] - expected[path]).max() / scale)
    return found
