"""From a run's workdir to a folder of Hugging Face's."""

import contextlib
import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from plmjax import experiment, exported_heads
from plmjax.data.preparation import user_errors_of_the_disk
from plmjax.data.tokenizers import Tokenizer
from plmjax.data.tokenizers.published import write_tokenizer
from plmjax.errors import UserError
from plmjax.huggingface import safetensors, streaming
from plmjax.huggingface.families import family_of
from plmjax.huggingface.family import Family
from plmjax.huggingface.keys import shape_of
from plmjax.model_card import model_card
from plmjax.run_tokenizer import tokenizer_of
from plmjax.settings import choose, from_config
from plmjax.train.chosen import LAST, chosen_state
from plmjax.train.parameters import RenamedParameters, StoredParameters
from plmjax.train.workdir import Workdir

DTYPES = {"float32": "F32", "bfloat16": "BF16"}
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_OPTIONAL = {
    "nsp_head": "the head of sentence pairs",
    "sbo_head": "the head of the span-boundary objective",
    "backbone/pooler": "the pooler",
    "generator": "the generator",
    "discriminator_head": "the discriminator's head",
    "task_heads": "the heads of the tasks",
    "task_head": "the head of the labelled task",
}


@dataclasses.dataclass(frozen=True)
class Run:
    """What is known of a run that is to be exported.

    record: its run.json. step: of the checkpoint, state: its folder, told: which one it is.
    """

    work: Workdir
    record: Mapping[str, Any]
    config: Any
    tokenizer: Tokenizer
    parameters: StoredParameters | RenamedParameters
    step: int
    state: epath.Path
    told: str = ""

    @property
    def family_name(self) -> str:
        """Ours."""
        return self.record["config"]["model"]["family"]

    @property
    def writes(self) -> bool:
        """Whether it was trained to predict the next token, if only of answers."""
        return self.record["config"]["objective"]["name"] in ("causal_lm", "seq2seq_lm")

    @property
    def is_electra(self) -> bool:
        """Whether there are a generator and a discriminator, which is the backbone."""
        return self.record["config"]["objective"]["name"] == "electra"


def export(
    workdir: str,
    folder: str,
    architecture: str,
    max_shard_size: str,
    dtype: str,
    say: Callable[[str], None] = print,
    checkpoint: str = LAST,
) -> None:
    """Writes a folder that transformers loads.

    Args:
      workdir: of the run.
      folder: to make; local. It may exist if it is empty.
      architecture: their model class; empty for the one with all heads that the run has.
      max_shard_size: of a file, such as 5GB.
      dtype: of the weights, a name of DTYPES.
      say: takes lines about what was written.
      checkpoint: which one: last, best, or a step.

    Raises:
      UserError: for whatever the user can mend.
    """
    kind = choose(dtype, DTYPES, "--dtype")
    limit = size_of(max_shard_size)
    target = new_folder(folder, "--to_huggingface")
    run = open_run(workdir, say, checkpoint=checkpoint)
    family, key = _family(run, architecture)
    if run.is_electra and key == "language_model":
        run = generator_of(run)
        _family(run, architecture)  # which may have no place for this one
    if key == exported_heads.KEY:
        run = exported_heads.fitted(run, family)
    table = family.table(run.config, key)
    _check_heads(run, family.classes[key], [entry.ours for entry in table])
    settings = config_json(run, family, family.classes[key], dtype)
    if key == exported_heads.KEY:
        settings |= exported_heads.settings_of(run, family, family.classes[key])
    remedy = "name another --to_huggingface"
    with user_errors_of_the_disk(epath.Path(target), remedy), replacing(target) as partial:
        note = write_tokenizer(run.tokenizer, partial, run.config.longest)
        exported_heads.write_beside(run, family, key, architecture, partial)
        (partial / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
        sizes = write_weights(run, family, key, partial, kind, limit)
        card = model_card(run, family, key, target.name, note)
        (partial / "README.md").write_text(card)
    of = f"of step {run.step:,} ({run.told})"
    say(f"{target}: {family.classes[key]}, {sum(sizes):,} parameters, {of}.")
    entries = {entry.ours for entry in table}
    left = [
        what
        for path, what in _OPTIONAL.items()
        if _among(path, run.parameters.shapes) and not _among(path, entries)
    ]
    if left:
        say(f"Left out, since {family.classes[key]} has none: {', '.join(left)}.")
    if note:
        say(f"{note[0].upper()}{note[1:]}.")


def open_run(
    workdir: str, say: Callable[[str], None], given_as: str = "--workdir", checkpoint: str = LAST
) -> Run:
    """Opens a checkpoint of a run, and its tokenizer.

    Args:
      workdir: of the run.
      say: hears of damaged checkpoints.
      given_as: what the user set to `workdir`, for messages.
      checkpoint: as of `plmjax.train.chosen.chosen_state`; the newest intact one by default.

    Raises:
      UserError: if there is no run or checkpoint, or one that cannot be read.
    """
    work = Workdir(workdir, given_as)
    record = work.stored()
    if record is None:
        raise UserError(f"{work.name} is not the workdir of a run: it has no run.json")
    model = dict(record["config"].get("model") or {})
    name = model.pop("family", "")
    family = choose(name, experiment.FAMILIES, f"{work.run_file}: config.model.family")
    config = from_config(family.config, model, f"{work.run_file}: config.model")
    tokenizer, _ = tokenizer_of(work, record["corpus"])
    remedy = "a run has one after its first save"
    chosen = chosen_state(work.path / "checkpoints", checkpoint, remedy, say)
    parameters = StoredParameters(chosen.state)
    return Run(
        *(work, record, config, tokenizer, parameters, chosen.step, chosen.state, chosen.told)
    )


def _family(run: Run, architecture: str) -> tuple[Family, str]:
    """Hugging Face's family, and the class with all heads that the run has."""
    if run.record["config"].get("task") and not run.writes:
        family, key = exported_heads.with_head(run, architecture)
        return family, key or "model"
    if not architecture and getattr(run.tokenizer, "style", "") == "xlm_r":
        # The same model under another name, which decides the tokenizer's class.
        kind = "Model" if run.is_electra else "ForMaskedLM"
        architecture = f"XLMRoberta{kind}" * (run.family_name == "roberta")
    family, key = family_of(run.family_name, run.config, architecture)
    if not key and run.is_electra:
        key = "discriminator" if "discriminator" in family.classes else "model"
    if not key:
        has_all = "pretraining" in family.classes and _pairs(run) == 2
        key = "pretraining" if has_all else "language_model"
    return family, key


def generator_of(run: Run) -> Run:
    """ELECTRA's generator as the masked language model that it is, with the shared embeddings."""
    fraction = run.record["config"]["objective"]["generator_fraction"]
    others = ("backbone/encoder/", "backbone/embedding_projection/", "backbone/pooler/")
    kept = {
        re.sub("^generator/", "backbone/", path): path
        for path in run.parameters.shapes
        if not path.startswith((*others, "discriminator_head/"))
    }
    parameters = RenamedParameters(run.parameters, kept)
    return dataclasses.replace(run, config=run.config.narrower(fraction), parameters=parameters)


def _pairs(run: Run) -> int:
    """How many classes of sentence pairs the run's head has."""
    return run.parameters.shapes.get("nsp_head/bias", (0,))[0]


def _among(path: str, paths: Any) -> bool:
    return any(name.startswith((f"{path}/", f"{path}_")) for name in paths)


def _check_heads(run: Run, architecture: str, needed: list[str]) -> None:
    """Raises a UserError if the class has parameters that the run has not."""
    missing = [path for path in needed if path not in run.parameters.shapes]
    if missing:
        raise UserError(
            f"--architecture={architecture} has {missing[0].partition('/')[0]}, and the run has"
            f" none ({missing[0]}); leave the flag out to write what there is"
        )
    if _pairs(run) not in (0, 2) and _among("nsp_head", needed):
        raise UserError(
            f"--architecture={architecture} tells 2 classes of sentence pairs, and the run's head"
            f" {_pairs(run)}; leave the flag out to write the model without that head"
        )


def config_json(run: Run, family: Family, architecture: str, dtype: str) -> dict[str, Any]:
    """What the export's config.json says.

    Raises:
      UserError: if the run's padding is not where their class looks for it.
    """
    settings = family.to_settings(run.config)
    ids = {}
    for role in ("pad", "bos", "eos", "cls", "sep", "mask"):
        ids[f"{role}_token_id"] = run.tokenizer.id_of(role)
    if settings.get("pad_token_id", ids["pad_token_id"]) != ids["pad_token_id"]:
        raise UserError(
            f"config.model.first_position={run.config.first_position}, and Hugging Face's"
            f" {family.model_type} begins positions one after the padding's id, which is"
            f" {ids['pad_token_id']}; train with --config.model.first_position="
            f"{(ids['pad_token_id'] or 0) + 1}, or with a tokenizer whose padding is"
            f" {settings['pad_token_id']}"
        )
    starts = [run.tokenizer.id_of(role) for role in family.decoder_starts]
    if starts:
        # What the decoder was trained to read first.
        first = next((number for number in starts if number is not None), None)
        settings |= {"is_encoder_decoder": True, "decoder_start_token_id": first}
    names = {"architectures": [architecture], "model_type": family.model_type, "dtype": dtype}
    # Said even where there is none, since their classes have defaults of their own.
    said = {key: ids[key] for key in ("pad_token_id", "bos_token_id", "eos_token_id")}
    more = {key: ids[key] for key in ("cls_token_id", "sep_token_id", "mask_token_id")}
    more = {key: value for key, value in more.items() if value is not None}
    more |= _languages(run)
    return {**names, **settings, **said, **more, "tie_word_embeddings": True} | {
        key: value for key, value in settings.items() if key == "tie_word_embeddings"
    }


def _languages(run: Run) -> dict[str, Any]:
    """Which row of XLM's table of languages is which."""
    told = run.record["config"].get("data", {}).get("languages", "")
    if not told or not run.config.languages:
        return {}
    named = dict(enumerate(name.strip() for name in told.split(",")))
    return {"id2lang": named, "lang2id": {name: number for number, name in named.items()}}


def write_weights(
    run: Run, family: Family, key: str, folder: Path, dtype: str, limit: int
) -> list[int]:
    """Writes the files of weights tensor by tensor; returns each tensor's size."""
    shape = shape_of(run.config)
    made_of = streaming.pieces(family.table(run.config, key))
    shapes = streaming.shapes(made_of, run.parameters.shapes, shape)
    blank = family.blank(run.config)
    shapes |= blank
    names = {name: _named(name, family, key) for name in shapes}
    slots = safetensors.lay_out(folder, {names[name]: shapes[name] for name in names}, dtype, limit)
    for name, some in made_of.items():
        tensor = np.asarray(streaming.tensor(some, run.parameters.read, shape))
        slots[names[name]].write(tensor)
    for name, size in blank.items():
        slots[names[name]].write(np.zeros(size, np.float32))
    return [int(np.prod(shape)) for shape in shapes.values()]


def _named(name: str, family: Family, key: str) -> str:
    """A tensor's name in the class: the backbone alone has no prefix."""
    return name.removeprefix(family.prefix) if key == "model" else name


def size_of(text: str) -> int:
    """Bytes of `5GB`, `500MB`, `100KiB`.

    Raises:
      UserError: if it is no such size.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(KB|MB|GB|KiB|MiB|GiB)", text)
    if not found or not float(found[1]):
        raise UserError(f"--max_shard_size={text} is no size; give one such as 5GB or 500MB")
    return int(float(found[1]) * _UNITS[found[2]])


def new_folder(path: str, flag: str) -> Path:
    """A local folder that does not exist, or is empty.

    Raises:
      UserError: if it is neither.
    """
    if not path:
        raise UserError(f"{flag}= is empty; name a folder")
    if "://" in path:
        raise UserError(f"{flag}={path} is remote; name a local folder and copy it afterwards")
    folder = Path(os.path.abspath(os.path.expanduser(path)))
    if folder.is_file():
        raise UserError(f"{flag}={path} is a file; name a folder")
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{flag}={path} has files in it; name another folder or empty it")
    return folder


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A folder to work in that becomes `folder` at the end, and is removed on any failure."""
    partial = folder.parent / f".{folder.name}.{os.getpid()}.partial"
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
