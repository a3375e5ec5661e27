"""Builds a token store in a folder, or adds sources to one; goes on where it was interrupted."""

import collections
import contextlib
import dataclasses
import fcntl
from collections.abc import Iterator, Sequence
from typing import Any

from etils import epath

from plmjax.data import beam, manifest, workers
from plmjax.data.arrays import is_remote
from plmjax.data.cleaning import Cleaning, report
from plmjax.data.formats import Unit, documents
from plmjax.data.merging import merge
from plmjax.data.phrases import dictionary_bytes
from plmjax.data.progress import Reporter
from plmjax.data.sources import Source
from plmjax.data.text_settings import TextSettings, open_annotator, sampled_units, settings_digest
from plmjax.data.tokenising import Job, Sentences, sentences_of
from plmjax.data.tokenizers import Tokenizer, load_tokenizer
from plmjax.errors import UserError

PARTS = "parts"
_MADE_FROM = "tokenizer.made_from"
_LOCK = "lock"  # its being there tells a folder of parts from anything else called so


@dataclasses.dataclass(frozen=True)
class Work:
    """What goes into a store, but for who does it.

    Attributes:
      sources: in corpus order.
      text: how text becomes tokens.
      cleaning: what is left out.
      held_out: share of the documents, picked by their content, that is never trained on.
      command: for the manifest: what to type to do this again.
    """

    sources: tuple[Source, ...]
    text: TextSettings = TextSettings()
    cleaning: Cleaning = Cleaning()
    held_out: float = 0.05
    command: tuple[str, ...] = ()

    def __post_init__(self):
        if not 0 <= self.held_out < 1:
            raise UserError(f"held_out={self.held_out} is not a share; give 0 <= held_out < 1")
        if not self.sources:
            raise UserError("there is no source; give --source=NAME=KIND:TARGET")
        names = [source.name for source in self.sources]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise UserError(f"two sources are called '{twice}'; give each a name before a '='")

    def units(self) -> list[Unit]:
        """The units of all sources.

        Raises:
          UserError: where a source has nothing to read.
        """
        return [unit for source in self.sources for unit in source.units()]


@dataclasses.dataclass(frozen=True)
class Hands:
    """Who does the work; nothing here changes a byte of the store.

    Attributes:
      workers: processes of this machine; 1 for this one alone.
      runner: a runner of Beam's; empty for this machine without Beam.
      beam_arguments: for Beam's own options.
    """

    workers: int = 1
    runner: str = ""
    beam_arguments: tuple[str, ...] = ()


def build_store(
    folder: epath.Path, work: Work, hands: Hands, reporter: Reporter, *, append: bool = False
) -> None:
    """Makes the store, or adds to it.

    A finished part is never made again: a build that was interrupted goes on, whoever does it. The
    manifest is written last, whole; until then the folder holds no store, or the one before.

    Args:
      folder: of the store; made if need be.
      work: what goes into it.
      hands: who does it.
      reporter: whom to tell.
      append: whether the store is there and gets the sources besides its own.

    Raises:
      UserError: for bad input, a folder that holds something else, a tokenizer that is not the
        store's.
      OSError: where the folder cannot be written.
    """
    units = work.units()
    before = _stored(folder, work, append)
    given = work.text.given_tokenizer()
    made_from = _made_from(work, units, given)
    if before and _is_complete(folder, work, units, before, made_from, append):
        reporter.say(f"corpus: {folder} is complete; nothing is left to be done")
        return
    _check_free(folder, work, before, append)
    parts = folder / PARTS
    parts.mkdir(parents=True, exist_ok=True)
    with _alone(parts):
        if before:
            _check_same_tokenizer(folder, before, given)
            tokenizer = load_tokenizer(folder)
        else:
            tokenizer = _tokenizer(folder, work, units, given, made_from, reporter)
        job = _job(folder, work, before["spacing"] if before else work.text.spacing_for(tokenizer))
        made = _made(job, units, tokenizer.vocab_size, hands, reporter)
        _check_text(made, work, before)
        _tell(made, reporter)
        about = _manifest(folder, job, tokenizer, work, units, made, before)
        about["tokenizer"]["made_from"] = before["tokenizer"]["made_from"] if before else made_from
        manifest.write_manifest(folder, about)
    parts.rmtree()


def _job(folder: epath.Path, work: Work, spacing: str) -> Job:
    digest = open_annotator(folder).digest
    parts = str(folder / PARTS)
    return Job(str(folder), parts, digest, work.cleaning, work.held_out, spacing)


def _is_complete(
    folder: epath.Path,
    work: Work,
    units: Sequence[Unit],
    before: dict[str, Any],
    made_from: str,
    append: bool,
) -> bool:
    """Whether the store has all that this work would make."""
    if not append and made_from != before["tokenizer"]["made_from"]:
        return False
    job = _job(folder, work, before["spacing"])
    there = before["sources"]
    return all(
        source.name in there and there[source.name]["work"] == _work_digest(job, units, source.name)
        for source in work.sources
    )


def _work_digest(job: Job, units: Sequence[Unit], name: str) -> str:
    """Hex digest of all that decides what the arrays of a source are."""
    parts = [job.part(unit).name for unit in units if unit.source == name]
    return settings_digest(job.cleaning.duplicates, parts)


def _stored(folder: epath.Path, work: Work, append: bool) -> dict[str, Any] | None:
    """The manifest of the store that is to be added to; None where one is to be made."""
    if (folder / manifest.FILE).exists():
        return manifest.read_manifest(folder)
    if append:
        raise UserError(f"--append: {folder} holds no token store; leave --append out")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give a folder")
    foreign = [path.name for path in folder.iterdir()] if folder.exists() else []
    just_begun = foreign == [PARTS] and not any((folder / PARTS).iterdir())
    if foreign and not just_begun and not (folder / PARTS / _LOCK).exists():
        raise UserError(
            f"{folder} holds something else ({sorted(foreign)[0]}); give an empty or new folder"
        )
    return None


def _check_free(
    folder: epath.Path, work: Work, before: dict[str, Any] | None, append: bool
) -> None:
    """Raises UserError where the folder holds another store than the one to be made or added to."""
    if before and not append:
        raise UserError(
            f"{folder} holds another token store, or these sources have changed; --append adds a "
            "source to it, or give another --out"
        )
    for source in work.sources:
        if before and source.name in before["sources"]:
            raise UserError(
                f"{folder} has a source called '{source.name}' already; give another name"
            )


@contextlib.contextmanager
def _alone(parts: epath.Path) -> Iterator[None]:
    """Keeps a second process of this machine from doing the same."""
    if is_remote(str(parts)):
        (parts / _LOCK).touch()
        yield
        return
    with (parts / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process is preparing {parts.parent}; wait for it, or stop it"
            ) from None
        yield


def _check_same_tokenizer(
    folder: epath.Path, before: dict[str, Any], given: Tokenizer | None
) -> None:
    if given is not None and given.digest != before["tokenizer"]["digest"]:
        raise UserError(
            f"{folder} was made with another tokenizer than the one given (digest "
            f"{before['tokenizer']['digest'][:12]}, given {given.digest[:12]}); a store has one: "
            "leave the tokenizer's flags out to use its own"
        )


def _tokenizer(
    folder: epath.Path,
    work: Work,
    units: Sequence[Unit],
    given: Tokenizer | None,
    made_from: str,
    reporter: Reporter,
) -> Tokenizer:
    """The given tokenizer, or a trained one, saved into the folder; kept from an earlier start."""
    note = folder / PARTS / _MADE_FROM
    if note.exists() and note.read_text() == made_from:
        return load_tokenizer(folder)
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    tokenizer = given or _trained(work, units, reporter)
    work.text.save(tokenizer, folder)
    note.write_text(made_from)
    return tokenizer


def _made_from(work: Work, units: Sequence[Unit], given: Tokenizer | None) -> str:
    """Hex digest of all that decides the tokenizer and the annotator."""
    dictionaries = [
        dictionary_bytes(path) if path else b"" for path in (work.text.phrases, work.text.entities)
    ]
    capitals = ("capitals",) * work.text.capitals
    if given:
        return settings_digest(work.text.segmenter, dictionaries, given.digest, *capitals)
    return settings_digest(work.text, dictionaries, units, work.cleaning, *capitals)


def _trained(work: Work, units: Sequence[Unit], reporter: Reporter) -> Tokenizer:
    chosen = sampled_units(units, work.text.sample_mb << 20)
    job = Job("", "", "", work.cleaning, 0, work.text.spacing_for(None))
    joint = "" if job.spacing == "keep" else "\n"
    titles = iter(("reading text", "training the tokenizer"))
    strict = work.cleaning.invalid_utf8 == "error"

    def texts() -> Iterator[str]:
        with reporter.stage(next(titles, "reading text"), sum(size for _, size in chosen)) as tell:
            for unit, limit in chosen:
                counts: collections.Counter = collections.Counter()
                found = documents(unit, tell, strict=strict, counts=counts)
                for texts in _up_to(limit, unit.size, sentences_of(found, job, counts)):
                    yield joint.join(texts)

    if any(unit.kind == "tfds" for unit in units):
        # The trainer asks for texts in a thread of its own, in which TensorFlow never comes back.
        held = list(texts())
        return work.text.trained(lambda: iter(held))
    return work.text.trained(texts)


def _up_to(limit: int, size: int, found: Iterator[Sentences]) -> Iterator[list[str]]:
    """All documents where a unit is read whole; else as many as have `limit` characters."""
    read = 0
    for document in found:
        yield document.texts
        read += sum(map(len, document.texts))
        if limit < size and read >= limit:
            return


def _made(
    job: Job, units: Sequence[Unit], vocab_size: int, hands: Hands, reporter: Reporter
) -> dict[str, dict[str, Any]]:
    total = sum(unit.size for unit in units)
    if hands.runner:
        with reporter.stage(f"Beam's {hands.runner}", total) as advance:
            made = beam.make_store(job, units, vocab_size, hands.runner, hands.beam_arguments)
            advance(total)
        return made
    missing = [unit for unit in units if not job.part(unit).exists()]
    if len(missing) < len(units):
        done = len(units) - len(missing)
        reporter.say(f"{done:,} of {len(units):,} parts are there from an earlier start")
    if missing:
        with reporter.stage("tokenising", sum(unit.size for unit in missing)) as advance:
            workers.make_parts(job, missing, hands.workers, advance)
    with reporter.stage("storing", total) as advance:
        return merge(job, units, vocab_size, advance)


def _check_text(made: dict[str, dict[str, Any]], work: Work, before: dict[str, Any] | None) -> None:
    for source in work.sources:
        about = made[source.name]
        if not any(split["tokens"] for split in about["splits"].values()):
            told = report(about["counts"])
            raise UserError(
                f"the source '{source.spec}' has no text to train on{f' ({told})' if told else ''};"
                " give other files, or clean less away"
            )
    if not before and not any(source["splits"]["train"]["tokens"] for source in made.values()):
        raise UserError(
            f"the source '{work.sources[0].spec}' has no text to train on: all of it is held out; "
            "give more documents or a smaller held_out"
        )


def _tell(made: dict[str, dict[str, Any]], reporter: Reporter) -> None:
    for name, source in made.items():
        left = report(source["counts"])
        splits = ", ".join(
            f"{split} {part['documents']:,} documents {part['tokens']:,} tokens"
            for split, part in source["splits"].items()
        )
        reporter.say(f"corpus: {name}: {splits}{f' ({left})' if left else ''}")


def _manifest(
    folder: epath.Path,
    job: Job,
    tokenizer: Tokenizer,
    work: Work,
    units: Sequence[Unit],
    made: dict[str, dict[str, Any]],
    before: dict[str, Any] | None,
) -> dict[str, Any]:
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    files = [name for name in files if not name.startswith(manifest.FILE)]
    settings = {
        "cleaning": dataclasses.asdict(work.cleaning),
        "held_out": work.held_out,
        "command": list(work.command),
    }
    entries = dict(before["sources"]) if before else {}
    for source in work.sources:
        about = made[source.name]
        entries[source.name] = {
            "spec": source.spec,
            "work": _work_digest(job, units, source.name),
            "digest": manifest.digest_of_source(about),
            **settings,
            **about,
        }
    return {
        "digest": manifest.digest_of_store(tokenizer.digest, entries),
        "tokenizer": {
            "kind": tokenizer.kind,
            "digest": tokenizer.digest,
            "vocab_size": tokenizer.vocab_size,
            "annotator_digest": job.annotator_digest,
            "files": {name: manifest.sha256_of(folder / name) for name in files},
        },
        "spacing": job.spacing,
        "sources": entries,
        "versions": manifest.versions(),
        "command": before["command"] if before else list(work.command),
    }
