"""The weights of a folder of Hugging Face's, read one tensor at a time."""

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from plmjax.errors import UserError
from plmjax.huggingface import safetensors
from plmjax.huggingface.family import Family

TORCH_FILE = "pytorch_model.bin"
INSTALL_TORCH = "pip install torch --index-url https://download.pytorch.org/whl/cpu"


@dataclasses.dataclass(frozen=True)
class Weights:
    """Tensors by name: their shapes, and what reads one."""

    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], np.ndarray]


def open_weights(folder: Path) -> Weights:
    """The weights in a folder: safetensors where there are some, else PyTorch's; sharded or not.

    Raises:
      UserError: if there are none, a file is missing or damaged, or PyTorch is needed and missing.
    """
    paths = _files(folder, safetensors.WEIGHTS_FILE)
    if paths:
        slots = safetensors.of_files(paths)
        shapes = {name: slot.shape for name, slot in slots.items()}
        return Weights(shapes, lambda name: slots[name].read())
    paths = _files(folder, TORCH_FILE)
    if paths:
        return _torch_weights(paths)
    raise UserError(
        f"{folder} has no weights; expected {safetensors.WEIGHTS_FILE} or {TORCH_FILE}, or one of"
        " them in parts with its .index.json"
    )


def _files(folder: Path, name: str) -> list[Path]:
    """The files of weights of a kind; none if there are none."""
    index = folder / f"{name}.index.json"
    if (folder / name).exists():
        return [folder / name]
    if not index.exists():
        return []
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index} is damaged ({error}); fetch it again") from None
    for name in names:
        if not (folder / name).exists():
            raise UserError(f"{folder} lacks {name}, which {index.name} names; fetch it, too")
    return [folder / name for name in names]


def _torch_weights(paths: Iterable[Path]) -> Weights:
    try:
        import torch
    except ModuleNotFoundError:
        raise UserError(
            f"{next(iter(paths))} is a PyTorch file, and PyTorch is not installed: {INSTALL_TORCH};"
            " safetensors files need none"
        ) from None
    tensors: dict[str, Any] = {}
    for path in paths:
        try:
            found = _torch_load(torch, path)
        except OSError:
            raise
        except Exception as error:  # unpickling raises what it likes
            reason = str(error).split("\n")[0][:200]
            raise UserError(f"{path} is no file of weights ({reason}); fetch it again") from None
        if not all(isinstance(x, torch.Tensor) for x in found.values()):
            raise UserError(
                f"{path} has more in it than tensors; save the model's state_dict() alone"
            )
        tensors |= found

    def read(name: str) -> np.ndarray:
        tensor = tensors[name].detach()
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()

    return Weights({name: tuple(x.shape) for name, x in tensors.items()}, read)


def _torch_load(torch: Any, path: Path) -> Mapping[str, Any]:
    # mmap reads a tensor when it is used; files of PyTorch before 1.6 cannot be mapped.
    mapped = torch.serialization._is_zipfile(path.open("rb"))
    return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)


def in_family(weights: Weights, family: Family, config: Any) -> tuple[Weights, list[str]]:
    """The tensors by the names that the family's table has, and the names of those besides.

    Old names of norms (gamma, beta) become new ones, a bare model's tensors get the prefix, and
    what is ignored is left out. Where only the duplicate of a tensor is there it takes its place.
    A head of its own that is not there is the table: transformers 5 ties T5's, whatever the config
    says, and writes it once.
    """
    duplicates, theirs = family.duplicates_of(config), {}
    heads = {*duplicates, *duplicates.values(), *family.zeros}
    bare = not any(name.startswith(family.prefix) for name in weights.shapes)
    for name in weights.shapes:
        full = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name))
        if any(re.search(pattern, full) for pattern in family.ignored):
            continue
        if bare and full not in heads:
            full = family.prefix + full
        theirs[full] = name
    for duplicate, original in duplicates.items():
        if duplicate in theirs and original not in theirs:
            theirs[original] = theirs.pop(duplicate)
    for name, original in family.duplicates.items():
        if name not in duplicates and name not in theirs and original in theirs:
            theirs[name] = theirs[original]
    besides = [name for name in (*duplicates, *family.zeros) if name in theirs]
    named = Weights(
        {name: weights.shapes[theirs[name]] for name in theirs},
        lambda name: weights.read(theirs[name]),
    )
    return named, besides


def check_besides(weights: Weights, family: Family, besides: Iterable[str]) -> None:
    """Raises a UserError if a tensor that should repeat another differs, or one is not zero."""
    for name in besides:
        if name in family.zeros:
            if np.any(weights.read(name)):
                raise UserError(
                    f"the tensor {name} is not zero, and plmjax's {family.model_type} has none;"
                    " it would compute something else"
                )
            continue
        original = family.duplicates[name]
        if original not in weights.shapes:
            continue
        same = weights.shapes[name] == weights.shapes[original]
        if not same or not np.array_equal(weights.read(name), weights.read(original)):
            raise UserError(
                f"the tensor {name} differs from {original}: the output table is not tied to the"
                f" embeddings, and in plmjax's {family.model_type} it is"
            )
