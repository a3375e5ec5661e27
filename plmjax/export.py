"""To and from Hugging Face: python -m plmjax.export --workdir=RUN --to_huggingface=FOLDER

--workdir=RUN --to_huggingface=FOLDER     writes a checkpoint of the run for transformers
--checkpoint=last|best|STEP   which one of the run (default last); the best is that which scored
                          best on what is held out as it was trained
--architecture=CLASS      their model class, such as BertModel or BertForMaskedLM (default: the one
                          with all heads that the run has)
                          A fine-tuned run becomes the class with its head, embeddings of sentences
                          what sentence-transformers opens; BertModel is the backbone alone
--max_shard_size=SIZE     of a file of weights (default 5GB)
--dtype=float32|bfloat16  of the weights (default float32)

--from_huggingface=FOLDER --workdir=RUN   makes the workdir of a run from config.json, the tokenizer
                          and the weights, safetensors or pytorch_model.bin, that runs begin with by
                          --config.init_from=RUN
"""

import os
from collections.abc import Sequence

from absl import flags

from plmjax import cli
from plmjax.errors import UserError

WORKDIR = flags.DEFINE_string("workdir", None, "The run, to read or to make.")
TO = flags.DEFINE_string("to_huggingface", None, "The folder to write.")
FROM = flags.DEFINE_string("from_huggingface", None, "The folder to read.")
ARCHITECTURE = flags.DEFINE_string("architecture", "", "A model class of transformers.")
MAX_SHARD_SIZE = flags.DEFINE_string("max_shard_size", "5GB", "Of a file of weights.")
DTYPE = flags.DEFINE_string("dtype", "float32", "Of the weights: float32 or bfloat16.")

CHECKPOINT = flags.DEFINE_string("checkpoint", "last", "Which one: last, best or a step.")

_OF_WRITING = ("checkpoint", "architecture", "max_shard_size", "dtype")


def main(rest: Sequence[str]) -> int:
    """Runs what the flags say; returns the exit code."""
    if rest:
        raise UserError(f"'{rest[0]}' after -- has no meaning here; leave it out")
    if (TO.value is None) == (FROM.value is None):
        given = "both" if TO.value is not None else "neither"
        raise UserError(f"give --to_huggingface=FOLDER or --from_huggingface=FOLDER, not {given}")
    if WORKDIR.value is None:
        raise UserError("--workdir is missing, for example --workdir=runs/quickstart")
    # Copying needs no accelerator, and must not take one from a run that is going on.
    os.environ["JAX_PLATFORMS"] = "cpu"
    if TO.value is not None:
        from plmjax.exporting import export

        names = ARCHITECTURE.value, MAX_SHARD_SIZE.value, DTYPE.value
        export(WORKDIR.value, TO.value, *names, say, CHECKPOINT.value)
        return 0
    if given := [name for name in _OF_WRITING if flags.FLAGS[name].present]:
        raise UserError(f"--{given[0]} is for --to_huggingface; leave it out")
    from plmjax.importing import import_model

    import_model(FROM.value, WORKDIR.value, say)
    return 0


def say(line: str) -> None:
    """Prints at once, also into a pipe."""
    print(line, flush=True)


if __name__ == "__main__":
    cli.run_without_config(main, __doc__)
