"""The parameters of a checkpoint one at a time, for models that do not fit into memory twice.

The files are those of `plmjax.train.checkpoints`; only who reads and writes them differs.
"""

import asyncio
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from etils import epath

from plmjax.train.checkpoints import PIECE_BYTES, CheckpointConfig, Checkpoints

_CACHE_BYTES = 2 * PIECE_BYTES


class StoredParameters:
    """The parameters in a checkpoint.

    Attributes:
      shapes: by path, `backbone/pooler/kernel`.
    """

    def __init__(self, state: epath.Path):
        """Reads what there is, no array.

        Args:
          state: what `plmjax.train.checkpoints.newest_state` gives.
        """
        self._state = state
        # A piece may hold several layers, which are asked for one by one.
        self._context = ts.Context({"cache_pool": {"total_bytes_limit": _CACHE_BYTES}})
        self._whole: tuple[str, np.ndarray] | None = None
        with ocp.PyTreeCheckpointer() as reader:
            tree = reader.metadata(state).item_metadata.tree["params"]
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        self.shapes: dict[str, tuple[int, ...]] = {
            jax.tree_util.keystr(keys, simple=True, separator="/"): tuple(leaf.shape)
            for keys, leaf in leaves
        }

    def read(self, path: str, index: int | None = None) -> np.ndarray:
        """A parameter, or one layer of a stacked one.

        Of an array that is stored in one piece the whole is read, and kept for the next layer.
        """
        if self._whole is not None and self._whole[0] == path:
            return self._whole[1] if index is None else self._whole[1][index]
        self._whole = None
        array = self._open(path)
        piece = array.chunk_layout.read_chunk.shape
        if index is None:
            return np.asarray(array.read().result())
        if piece[0] < array.shape[0] or 4 * array.size <= _CACHE_BYTES // 2:
            return np.asarray(array[index].read().result())
        self._whole = (path, np.asarray(array.read().result()))
        return self._whole[1][index]

    @functools.lru_cache(maxsize=64)  # noqa: B019  it lives as long as the process
    def _open(self, path: str) -> ts.TensorStore:
        name = ".".join(["params", *path.split("/")])
        base = str(self._state)
        kvstore = {
            "driver": "ocdbt",
            "base": f"{base if '://' in base else f'file://{base}'}/",
            "path": f"{name}/",
        }
        spec = {"driver": "zarr", "kvstore": kvstore, "recheck_cached_data": "open"}
        return ts.open(spec, read=True, open=True, context=self._context).result()


@dataclasses.dataclass(frozen=True)
class RenamedParameters:
    """Some of the parameters in a checkpoint, by other paths.

    stored: all of them. paths: from the new path to the stored one.
    """

    stored: StoredParameters
    paths: Mapping[str, str]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """By new path."""
        return {new: self.stored.shapes[old] for new, old in self.paths.items()}

    def read(self, path: str, index: int | None = None) -> np.ndarray:
        """As of StoredParameters."""
        return self.stored.read(self.paths[path], index)


@dataclasses.dataclass(frozen=True)
class LazyArray:
    """An array that is made when it is written, and layer by layer where it is stacked.

    read: gives the array, or one layer of a stacked one.
    """

    shape: tuple[int, ...]
    stacked: bool
    read: Callable[[int | None], np.ndarray]
    dtype: np.dtype = np.dtype(np.float32)

    @property
    def nbytes(self) -> int:
        """How many bytes it has."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    size = property(lambda self: int(np.prod(self.shape)))
    ndim = property(lambda self: len(self.shape))

    def whole(self, dtype: np.dtype) -> np.ndarray:
        """The array in a dtype; where it is stacked, made layer by layer."""
        if not self.stacked:
            return self.read(None).astype(dtype, copy=False)
        made = np.empty(self.shape, dtype)
        for index in range(len(made)):
            made[index] = self.read(index)
        return made


def write_parameters(directory: epath.PathLike, params: Any) -> None:
    """Makes a checkpoint of step 0 with parameters and no optimizer's state, sealed as others.

    Args:
      directory: a run's `checkpoints`.
      params: a tree of LazyArray.
    """
    checkpoints = _LazyCheckpoints(directory, CheckpointConfig())
    step = LazyArray((), False, lambda index: np.zeros((), np.int32), np.dtype(np.int32))
    checkpoints.save(0, {"params": params, "step": step}, None)
    checkpoints.close()


class _LazyCheckpoints(Checkpoints):
    def _handlers(self) -> dict[str, ocp.CheckpointHandler]:
        registry = ocp.type_handlers.create_type_handler_registry((LazyArray, _LazyHandler()))
        return {"state": ocp.PyTreeCheckpointHandler(type_handler_registry=registry)}

    def _how(self, state: Any) -> ocp.args.CheckpointArgs:
        return ocp.args.PyTreeSave(state)


class _LazyHandler(ocp.type_handlers.NumpyHandler):
    """Orbax's of numpy arrays, which takes them one after the other and in parts."""

    def __init__(self):
        super().__init__(deepcopy_host_arrays=False)
        self._turn = asyncio.Lock()

    # The one step that holds an array. Orbax has no public place for it; if it moves, the test of
    # `write_parameters` fails, since numpy finds nothing in a LazyArray.
    async def _open_and_write(self, value: LazyArray, tspec: dict, ts_context: ts.Context) -> None:
        async with self._turn:
            if value.stacked:
                tspec["metadata"]["chunks"] = [1, *value.shape[1:]]
            store = await ts.open(ts.Spec(tspec), create=True, open=True, context=ts_context)
            if not value.stacked:
                # It is ours alone, so it need not be copied.
                await store.write(value.read(None), can_reference_source_data_indefinitely=True)
            for index in range(value.shape[0] if value.stacked else 0):
                part = value.read(index)
                await store[index].write(part, can_reference_source_data_indefinitely=True)


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """A tree from `{"a/b": leaf}`."""
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *parents, last = path.split("/")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = leaf
    return tree
