"""The config of a run that goes on with another run's training, on other text."""

import dataclasses

from ml_collections import ConfigDict

from plmjax.data.preparation import CorpusConfig
from plmjax.errors import UserError
from plmjax.experiment import Settings, planned_phases
from plmjax.run_tokenizer import tokenizer_of
from plmjax.settings import from_config, to_config
from plmjax.train.workdir import Workdir


def continued_config(workdir: str) -> ConfigDict:
    """The model, the vocabulary, the objective and the batches of a run, from its parameters on.

    Of a run in phases the batches are those of its last phase. The corpus is left open but for the
    tokenizer: a WordPiece reads any text; for others a store is made with the run's.

    Args:
      workdir: of a run that was pretrained here, or imported from Hugging Face's files.

    Raises:
      UserError: if it is none, or one that has learned a labelled task.
    """
    work = Workdir(workdir, "the workdir of configs/continued.py")
    run = work.stored()
    if run is None:
        raise UserError(
            f"{work.path} is not the workdir of a run: it has no run.json; python -m plmjax.export"
            " --from_huggingface=FOLDER --workdir=RUN makes one"
        )
    known = {field.name for field in dataclasses.fields(Settings)}
    if "imported_from" in run["corpus"]:
        known.remove("train")  # its 0 steps are none that a run could have
    stored = {key: value for key, value in run["config"].items() if key in known}
    before = from_config(Settings, stored)
    if before.task:
        raise UserError(
            f"{work.path} has learned a labelled task, which text has no labels for; give the run"
            f" that it began with: {before.init_from or 'one that was pretrained'}"
        )
    (tokenizer, path), kept = tokenizer_of(work, run["corpus"]), before.corpus
    is_wordpiece = tokenizer.kind == "wordpiece"
    corpus = CorpusConfig(
        source="",
        tokenizer="wordpiece" if is_wordpiece else kept.tokenizer,
        vocab_file=f"{path}/vocab.txt" if is_wordpiece else "",
        lowercase=kept.lowercase,
        capitals=kept.capitals,
    )
    settings = Settings(
        init_from=workdir,
        model=before.model | {"dtype": "auto"},
        objective=before.objective,
        corpus=corpus,
        data=planned_phases(before)[-1].data,
        sharding=before.sharding,
    )
    return to_config(settings)
