"""One engine for all families: tensors by Hugging Face's names to our tree of parameters, and back.

A family is a table of entries, one for each parameter of ours (`plmjax.huggingface.encoders`).
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from plmjax.errors import UserError

Tree = dict[str, Any]
Layers = int | tuple[int, ...] | None


@dataclasses.dataclass(frozen=True)
class Shape:
    """What the transforms need to know of a model: heads H, their width K, and rows of the table.

    vocab_rows: rows of our token table, padding included. vocab_size: those that count.
    """

    num_heads: int
    head_size: int
    vocab_size: int
    vocab_rows: int


def shape_of(config: Any) -> Shape:
    """What the transforms need of a family's Config."""
    rows = -(-config.vocab_size // config.vocab_multiple) * config.vocab_multiple
    return Shape(config.num_heads, config.head_width, config.vocab_size, rows)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A parameter in both worlds.

    ours: its path, `encoder/layers/mlp_in/kernel`.
    theirs: its name, with `{}` for the number of the layer.
    kind: how one becomes the other, a name of TRANSFORMS.
    layers: the layer's number, or those of the layers that are stacked in ours, as of
      `plmjax.nn.stack.subtrees`; None outside of layers.
    part: (i, n) where ours is the i-th of n equal parts of theirs, along `axis`.
    shape: where its heads are not the model's (a decoder's beside its encoder); None for those.
    """

    ours: str
    theirs: str
    kind: str
    layers: Layers = None
    part: tuple[int, int] = (0, 1)
    axis: int = -1
    shape: Shape | None = None

    @property
    def is_stacked(self) -> bool:
        """Whether ours has a leading axis for layers."""
        return isinstance(self.layers, tuple)

    @property
    def names(self) -> list[str]:
        """Their names, one a layer."""
        if self.is_stacked:
            return [self.theirs.format(layer) for layer in self.layers]
        return [self.theirs if self.layers is None else self.theirs.format(self.layers)]

    def take(self, tensor: np.ndarray, shape: Shape) -> np.ndarray:
        """Ours of one of their tensors; ValueError if it cannot be made of it."""
        number, count = self.part
        part = np.split(tensor, count, axis=self.axis)[number] if count > 1 else tensor
        return TRANSFORMS[self.kind][0](part, self.shape or shape)

    def give(self, value: np.ndarray, shape: Shape) -> np.ndarray:
        """Their tensor of ours, or the part of it that ours is; of one layer."""
        return TRANSFORMS[self.kind][1](value, self.shape or shape)


def _rows_padded(x: np.ndarray, shape: Shape) -> np.ndarray:
    extra = shape.vocab_rows - shape.vocab_size
    return np.concatenate([x, np.zeros((extra, *x.shape[1:]), x.dtype)])


def _root(shape: Shape) -> np.float32:
    return np.float32(shape.head_size) ** np.float32(0.5)


_BIASES = {"to_heads": "head_bias", "to_unscaled_heads": "unscaled_head_bias"}

# From theirs to ours, and back. torch's Linear is [out, in].
TRANSFORMS: dict[str, tuple[Callable, Callable]] = {
    "same": (lambda x, s: x, lambda x, s: x),
    "dense": (lambda x, s: x.T, lambda x, s: x.T),
    # GPT's Conv1D is [in, out].
    "split_heads": (
        lambda x, s: x.reshape(-1, s.num_heads, s.head_size),
        lambda x, s: x.reshape(len(x), -1),
    ),
    "join_heads": (
        lambda x, s: x.reshape(s.num_heads, s.head_size, -1),
        lambda x, s: x.reshape(-1, x.shape[-1]),
    ),
    "vocab": (_rows_padded, lambda x, s: x[: s.vocab_size]),
    "vocab_columns": (lambda x, s: _rows_padded(x.T, s), lambda x, s: x[: s.vocab_size].T),
    "to_heads": (
        lambda x, s: x.T.reshape(-1, s.num_heads, s.head_size),
        lambda x, s: x.reshape(len(x), -1).T,
    ),
    # Queries whose scores are not divided by the root of K: theirs are that much larger, so that
    # after the division the scores are the same.
    "to_unscaled_heads": (
        lambda x, s: x.T.reshape(-1, s.num_heads, s.head_size) / _root(s),
        lambda x, s: x.reshape(len(x), -1).T * _root(s),
    ),
    "unscaled_head_bias": (
        lambda x, s: x.reshape(s.num_heads, s.head_size) / _root(s),
        lambda x, s: x.reshape(-1) * _root(s),
    ),
    "head_bias": (lambda x, s: x.reshape(s.num_heads, s.head_size), lambda x, s: x.reshape(-1)),
    "from_heads": (
        lambda x, s: x.T.reshape(s.num_heads, s.head_size, -1),
        lambda x, s: x.reshape(-1, x.shape[-1]).T,
    ),
    # XLNet's output projection is [D, H, K], and its mask's embedding [1, 1, D].
    "heads_last": (lambda x, s: x.transpose(1, 2, 0), lambda x, s: x.transpose(2, 0, 1)),
    "one_row": (lambda x, s: x.reshape(-1), lambda x, s: x.reshape(1, 1, -1)),
}


def dense(
    ours: str, theirs: str, layers: Layers = None, kind: str = "dense", bias: bool = True
) -> list[Entry]:
    """A projection; `kind` is that of the kernel."""
    entries = [Entry(f"{ours}/kernel", f"{theirs}.weight", kind, layers)]
    if bias:
        entries.append(Entry(f"{ours}/bias", f"{theirs}.bias", _BIASES.get(kind, "same"), layers))
    return entries


def norm(ours: str, theirs: str, layers: Layers = None, bias: bool = True) -> list[Entry]:
    """A norm."""
    entries = [Entry(f"{ours}/scale", f"{theirs}.weight", "same", layers)]
    return entries + [Entry(f"{ours}/bias", f"{theirs}.bias", "same", layers)] * bias


def to_ours(tensors: Mapping[str, np.ndarray], table: Iterable[Entry], shape: Shape) -> Tree:
    """The tree of parameters that these tensors are.

    Raises:
      UserError: where a tensor is missing, has the wrong size, or has no place.
    """
    left, tree = set(tensors), {}
    for entry in table:
        parts = []
        for name in entry.names:
            if name not in tensors:
                raise UserError(f"the tensor {name} is missing; is this another architecture?")
            left.discard(name)
            tensor = tensors[name]
            try:
                parts.append(entry.take(tensor, shape))
            except ValueError:
                of = entry.shape or shape
                raise UserError(
                    f"the tensor {name} has the shape {tensor.shape}, which does not fit "
                    f"{of.num_heads} heads of {of.head_size}"
                ) from None
        _put(tree, entry.ours, np.stack(parts) if entry.is_stacked else parts[0])
    if left:
        raise UserError(f"no place for the tensors {', '.join(sorted(left))}")
    return tree


def to_theirs(tree: Tree, table: Iterable[Entry], shape: Shape) -> dict[str, np.ndarray]:
    """The tensors of a tree of parameters, by Hugging Face's names."""
    found: dict[str, list[np.ndarray]] = {}
    axes = {}
    for entry in sorted(table, key=lambda entry: entry.part):
        value = _get(tree, entry.ours)
        layers = value if entry.is_stacked else [value]
        for name, layer in zip(entry.names, layers, strict=True):
            found.setdefault(name, []).append(entry.give(np.asarray(layer), shape))
            axes[name] = entry.axis
    return {
        name: np.concatenate(parts, axis=axes[name]) if len(parts) > 1 else parts[0]
        for name, parts in found.items()
    }


def _put(tree: Tree, path: str, value: np.ndarray) -> None:
    *parents, last = path.split("/")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[last] = value


def _get(tree: Tree, path: str) -> Any:
    for part in path.split("/"):
        tree = tree[part]
    return tree
