"""A trained model, ready to be asked: from a run's workdir, or from a folder of Hugging Face's.

Parameters only, laid out on a mesh: there is no optimizer, and no corpus has to be there.
"""

import contextlib
import dataclasses
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from plmjax import from_huggingface
from plmjax.data.tokenizers import Tokenizer
from plmjax.errors import UserError
from plmjax.experiment import Settings, model_config
from plmjax.exporting import open_run
from plmjax.framing import Framing, as_published, as_trained
from plmjax.objectives.causal_lm import CausalLM
from plmjax.objectives.seq2seq_lm import Seq2SeqLM
from plmjax.parallel.layout import check_parameters
from plmjax.parallel.mesh import MeshConfig, make_mesh
from plmjax.parallel.rules import ShardingConfig, on_mesh, parameter_shardings
from plmjax.settings import choose, from_config
from plmjax.train.chosen import LAST
from plmjax.train.other_runs import read_parameters
from plmjax.train.parameters import LazyArray, nested
from plmjax.train.state import boxed_parameters
from plmjax.train.workdir import absolute

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
_READ = ("seed", "model", "objective", "data")
"""Sections of a run's config that say what the model is and how its texts were framed."""

_UNUSED_HEADS = ("backbone/pooler", "nsp_head")
"""Parts that may be missing from published files, and that no score of a token depends on."""

_MESH, _SHARDING = MeshConfig(), ShardingConfig()


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model with its parameters.

    Attributes:
      objective: the flax module; its decoder or encoder is `backbone`.
      params: what `objective.apply` takes under "params", laid out on `mesh`. Where the model
        computes in bfloat16, kernels and token tables are in bfloat16, to which it would round
        them.
      tokenizer: its.
      model: the family's Config.
      family: its name, one of `plmjax.families.FAMILIES`.
      mesh, rules: where the parameters are, and by what rules.
      settings: of the run, as far as they say what the model is.
      framing: what surrounds a prompt.
      step: of the checkpoint; None for published files.
      path: as given.
    """

    objective: nn.Module
    params: Any
    tokenizer: Tokenizer
    model: Any
    family: str
    mesh: Mesh
    rules: tuple
    settings: Settings
    framing: Framing
    step: int | None
    path: str

    @property
    def begin(self) -> int | None:
        """As of `Framing`."""
        return self.framing.begin

    @property
    def end(self) -> tuple[int, ...]:
        """As of `Framing`."""
        return self.framing.end

    @property
    def pad(self) -> int:
        """As of `Framing`."""
        return self.framing.pad

    @property
    def is_seq2seq(self) -> bool:
        """Whether it is an encoder-decoder."""
        return isinstance(self.objective, Seq2SeqLM)

    @property
    def context(self) -> int:
        """The longest sequence, prompt and continuation; a large number where nothing limits it."""
        return self.model.longest

    def on_mesh(self) -> contextlib.AbstractContextManager[None]:
        """While it is entered, what is traced is laid out on the mesh."""
        return on_mesh(self.mesh, self.rules)


def load_model(
    path: str,
    *,
    dtype: str = "",
    mesh: MeshConfig = _MESH,
    sharding: ShardingConfig = _SHARDING,
    given_as: str = "--model",
    say: Callable[[str], None] = _to_stderr,
    checkpoint: str = LAST,
) -> Loaded:
    """Loads a model.

    Args:
      path: the workdir of a run, or a folder with config.json, weights and tokenizer as Hugging
        Face has them.
      dtype: float32 or bfloat16; empty for what the run had, of published files float32.
      mesh: how devices split it.
      sharding: which axes of the mesh split what.
      given_as: what the user set to `path`, for messages.
      say: hears of damaged checkpoints.
      checkpoint: of a run: last (the newest intact one), best, or a step.

    Raises:
      UserError: if there is neither, it cannot be read, or does not fit the mesh.
    """
    if dtype:
        choose(dtype, DTYPES, "--dtype")
    folder = absolute(path)
    if not path or not folder.exists():
        raise UserError(
            f"{given_as}={path}: there is no such folder; name the workdir of a run, or a folder"
            " that has a model of Hugging Face's in it (nothing is fetched)"
        )
    devices = make_mesh(mesh)
    if (folder / "run.json").exists():
        return _of_run(path, dtype, devices, sharding.rules, given_as, say, checkpoint)
    if checkpoint != LAST:
        raise UserError(
            f"--checkpoint={checkpoint} is of the workdir of a run, and {given_as}={path} is none;"
            " leave it out"
        )
    if (folder / "config.json").exists():
        return _of_files(path, dtype, devices, sharding.rules, given_as)
    raise UserError(
        f"{given_as}={path} has neither run.json, as the workdir of a run, nor config.json, as a"
        " folder that transformers or plmjax.export has written"
    )


def load_asked(path: str, dtype: str, mesh: MeshConfig, checkpoint: str = LAST) -> Loaded:
    """As `load_model`, for the flags --model, --dtype, --mesh and --checkpoint of a verb."""
    try:
        return load_model(path, dtype=dtype, mesh=mesh, checkpoint=checkpoint)
    except UserError as error:
        message = re.sub(r"config\.mesh\.(\w+)=", r"--mesh=\1=", str(error))
        raise UserError(message.replace("config.mesh", "--mesh")) from None


def check_writes(loaded: Loaded) -> None:
    """Raises a UserError if a model is none that writes texts."""
    if loaded.objective.fills_blanks:
        raise UserError(
            f"--model={loaded.path} is of the family {loaded.family}, which fills in blanks: write"
            " with it by --order=left, right or random, or name a model of gpt, t5 or bart"
        )
    if not isinstance(loaded.objective, CausalLM | Seq2SeqLM):
        raise UserError(
            f"--model={loaded.path} is of the family {loaded.family}, which does not write on; name"
            " a model of gpt, t5 or bart"
        )


def _of_run(
    path: str,
    dtype: str,
    mesh: Mesh,
    rules: tuple,
    given_as: str,
    say: Callable[[str], None],
    checkpoint: str,
) -> Loaded:
    run = open_run(path, say, given_as, checkpoint)
    if checkpoint != LAST:
        say(f"{path}: the checkpoint of step {run.step:,} ({run.told})")
    stored = {key: value for key, value in run.record["config"].items() if key in _READ}
    settings = _to_ask(from_config(Settings, stored), dtype)
    objective, boxed = _checked(settings, mesh, rules)
    like = _laid_out(boxed, settings.model["dtype"], mesh, rules)
    params = read_parameters(run.state, like, say)
    framing = as_trained(settings.data, run.tokenizer, isinstance(objective, Seq2SeqLM))
    model, family = model_config(settings), settings.model["family"]
    return Loaded(
        *(objective, params, run.tokenizer, model, family, mesh, rules, settings, framing),
        step=run.step,
        path=path,
    )


def _of_files(path: str, dtype: str, mesh: Mesh, rules: tuple, given_as: str) -> Loaded:
    folder = Path(absolute(path))
    plan = from_huggingface.planned(folder, given_as)
    missing = [name for name in plan.fresh if not name.startswith(_UNUSED_HEADS)]
    if missing:
        raise UserError(
            f"{given_as}={path} has no weights for {missing[0].rpartition('/')[0]}: it was saved"
            " without its head, and would answer at random; save the model with its head"
        )
    settings = _to_ask(plan.settings, dtype or "float32")
    objective, boxed = _checked(settings, mesh, rules)
    like = _laid_out(boxed, settings.model["dtype"], mesh, rules)
    params = _placed(from_huggingface.lazy_arrays(plan), like)
    model, family = model_config(settings), settings.model["family"]
    framing = as_trained(settings.data, plan.tokenizer, isinstance(objective, Seq2SeqLM))
    framing = as_published(framing, folder, plan.described, model.vocab_size)
    return Loaded(
        *(objective, params, plan.tokenizer, model, family, mesh, rules, settings, framing),
        step=None,
        path=path,
    )


def _to_ask(settings: Settings, dtype: str) -> Settings:
    """The settings with what only training needs set aside, and what this machine has."""
    model = {**settings.model, "remat": "none", "attention_implementation": "auto"}
    return dataclasses.replace(settings, model=model | ({"dtype": dtype} if dtype else {}))


def _checked(settings: Settings, mesh: Mesh, rules: tuple) -> tuple[nn.Module, Any]:
    """The objective, and the shapes of its parameters with the names of their axes."""
    objective, spec = from_huggingface.run_objective(settings)
    boxed = boxed_parameters(objective, spec)
    check_parameters(boxed, model_config(settings), mesh, rules)
    return objective, boxed


def _laid_out(boxed: Any, dtype: str, mesh: Mesh, rules: tuple) -> Any:
    """Shape, dtype and sharding of each parameter."""

    def leaf(path: tuple, x: jax.ShapeDtypeStruct, sharding: Any) -> jax.ShapeDtypeStruct:
        is_product = path[-1].key in ("kernel", "embedding")
        kept = DTYPES[dtype] if is_product else x.dtype
        return jax.ShapeDtypeStruct(x.shape, kept, sharding=sharding)

    shapes, shardings = nn.meta.unbox(boxed), parameter_shardings(boxed, mesh, rules)
    return jax.tree_util.tree_map_with_path(leaf, shapes, shardings)


def _placed(arrays: Mapping[str, LazyArray], like: Any) -> Any:
    """The arrays of files where `like` says, one after the other, so that the host holds one."""

    def put(array: LazyArray, of: jax.ShapeDtypeStruct) -> jax.Array:
        host = array.whole(of.dtype)
        return jax.make_array_from_callback(of.shape, of.sharding, lambda index: host[index])

    return jax.tree.map(put, nested(dict(arrays)), like)
