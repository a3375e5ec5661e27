"""From text to a tokenizer and a token store, once for each content and setting."""

import contextlib
import dataclasses
import errno
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator
from typing import Any

from etils import epath

from plmjax.data.progress import Reporter
from plmjax.data.sources import Source, open_source
from plmjax.data.store import SplitReader, SplitWriter, smallest_token_dtype
from plmjax.data.tokenizers import WordPiece, read_vocabulary, train_wordpiece
from plmjax.errors import UserError

_FORMAT = 1  # goes up with every change of cleaning, splitting, tokenising or storing
_MANIFEST = "manifest.json"
_SPLITS = ("train", "held_out")
_SENTENCES_AT_ONCE = 8192


@dataclasses.dataclass(frozen=True)
class CorpusConfig:
    """What to train on.

    Attributes:
      source: `sample:pydoc`, or `text:` and a path or glob of UTF-8 files with blank lines between
        documents.
      cache_dir: where prepared corpora are kept; a local path, or one such as gs://bucket/folder.
      vocab_file: a published vocab.txt; empty to train a WordPiece on the source.
      vocab_size: size of the WordPiece to train; not used with `vocab_file`.
      lowercase: whether text is lower-cased and stripped of accents.
      held_out: share of the documents, picked by their content, that is never trained on.
    """

    source: str = "sample:pydoc"
    cache_dir: str = "~/.cache/plmjax"
    vocab_file: str = ""
    vocab_size: int = 4096
    lowercase: bool = True
    held_out: float = 0.05

    def __post_init__(self):
        if not 0 <= self.held_out < 1:
            raise UserError(f"held_out={self.held_out} is not a share; give 0 <= held_out < 1")
        if self.vocab_size < 100:
            raise UserError(f"vocab_size={self.vocab_size} is too small; give 100 or more")


@dataclasses.dataclass(frozen=True)
class PreparedCorpus:
    """A tokenizer and the token store it made.

    Attributes:
      path: the folder of both.
      manifest: what is in it and how it was made.
      tokenizer: made or read in preparation.
      train, held_out: the two splits.
    """

    path: str
    manifest: dict[str, Any]
    tokenizer: WordPiece
    train: SplitReader
    held_out: SplitReader

    @property
    def digest(self) -> str:
        """Hex digest of the tokenizer and of every token and boundary of both splits."""
        return self.manifest["digest"]


def prepare(config: CorpusConfig, *, quiet: bool = False) -> PreparedCorpus:
    """Prepares the corpus, or opens it where the same content was prepared before.

    The folder's name is a hash of the raw text and the settings. Work happens in a folder beside
    it that is renamed when complete, so that a reader never meets half of one, and of two
    processes that prepare the same corpus one wins and the other uses its work.

    Raises:
      UserError: for a missing, empty or undecodable corpus, an unusable vocabulary, a damaged
        store, and where there is no room on the disk.
    """
    report = Reporter(quiet)
    source = open_source(config.source)
    given = _given_tokenizer(config)
    name = _folder_name(config, source, given)
    folder = epath.Path(config.cache_dir).expanduser() / name
    if (folder / _MANIFEST).exists():
        report.say(f"corpus: reusing {folder}")
        return open_prepared(folder)
    with _user_errors_of_the_disk(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _workplace(folder) as workplace:
            _build(workplace, config, source, given, report)
    prepared = open_prepared(folder)
    counts = ", ".join(
        f"{split} {part['documents']:,} documents {part['tokens']:,} tokens"
        for split, part in prepared.manifest["splits"].items()
    )
    report.say(f"corpus: {folder} ({counts})")
    return prepared


def open_prepared(folder: str | os.PathLike) -> PreparedCorpus:
    """Opens a prepared corpus.

    Raises:
      UserError: where it is incomplete or damaged, or its vocabulary is not the one of its tokens.
    """
    folder = epath.Path(folder)
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        parts = {split: manifest["splits"][split] for split in _SPLITS}
        expected = manifest["tokenizer_digest"]
        made_as = manifest["format"]
    except (FileNotFoundError, json.JSONDecodeError, KeyError) as error:
        raise UserError(
            f"{folder} is no complete prepared corpus ({type(error).__name__}: {error}); remove it "
            "and prepare the data again"
        ) from None
    if made_as != _FORMAT:
        raise UserError(
            f"{folder} has format {made_as}, this version reads {_FORMAT}; prepare the data again"
        )
    tokenizer = WordPiece.load(folder)
    if tokenizer.digest != expected:
        raise UserError(
            f"the vocabulary in {folder} is not the one its tokens were made with (digest "
            f"{tokenizer.digest[:12]}, expected {expected[:12]}); put it back, or remove the "
            "folder and prepare the data again"
        )
    splits = {split: SplitReader(str(folder / split), part) for split, part in parts.items()}
    return PreparedCorpus(str(folder), manifest, tokenizer, **splits)


def _given_tokenizer(config: CorpusConfig) -> WordPiece | None:
    if not config.vocab_file:
        return None
    return WordPiece(read_vocabulary(config.vocab_file), config.lowercase)


def _folder_name(config: CorpusConfig, source: Source, given: WordPiece | None) -> str:
    vocabulary = given.digest if given else f"{config.vocab_size} {config.lowercase}"
    parts = (_FORMAT, source.fingerprint(), vocabulary, config.held_out)
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()
    kind = "pydoc" if source.name == "sample:pydoc" else "text"
    return f"{kind}-{digest[:20]}"


def _build(
    workplace: epath.Path,
    config: CorpusConfig,
    source: Source,
    tokenizer: WordPiece | None,
    report: Reporter,
) -> None:
    if tokenizer is None:
        tokenizer = _trained(config, source, report)
    tokenizer.save(workplace)
    dtype = smallest_token_dtype(tokenizer.vocab_size)
    writers = {split: SplitWriter(str(workplace / split), dtype) for split in _SPLITS}
    with report.stage("tokenising", source.total_bytes) as advance:
        for documents in _batches(source.documents(advance)):
            _tokenise(documents, tokenizer, writers, config.held_out)
    splits = {split: writer.finish() for split, writer in writers.items()}
    if not splits["train"]["tokens"]:
        raise UserError(
            f"the corpus of '{source.name}' has no text to train on; give more documents "
            "(blank lines separate them) or a smaller held_out"
        )
    manifest = {
        "format": _FORMAT,
        "digest": _content_digest(tokenizer, splits),
        "tokenizer_digest": tokenizer.digest,
        "vocab_size": tokenizer.vocab_size,
        "source": source.name,
        "settings": dataclasses.asdict(config),
        "command": sys.argv,
        "versions": _versions(),
        "splits": splits,
    }
    partial = workplace / f"{_MANIFEST}.partial"
    partial.write_text(json.dumps(manifest, indent=2) + "\n")
    partial.rename(workplace / _MANIFEST)


def _trained(config: CorpusConfig, source: Source, report: Reporter) -> WordPiece:
    """Trains the tokenizer on the whole source."""
    passes = iter(("reading text", "training the tokenizer"))

    def texts() -> Iterator[str]:
        with report.stage(next(passes), source.total_bytes) as advance:
            for document in source.documents(advance):
                yield "\n".join(document)

    return train_wordpiece(texts, config.vocab_size, config.lowercase)


def _batches(documents: Iterator[list[str]]) -> Iterator[list[list[str]]]:
    """Groups of documents, so that the tokenizer has enough sentences for all cores."""
    group, sentences = [], 0
    for document in documents:
        group.append(document)
        sentences += len(document)
        if sentences >= _SENTENCES_AT_ONCE:
            yield group
            group, sentences = [], 0
    if group:
        yield group


def _tokenise(
    documents: list[list[str]],
    tokenizer: WordPiece,
    writers: dict[str, SplitWriter],
    held_out: float,
) -> None:
    ids = iter(tokenizer.encode_batch([text for document in documents for text in document]))
    for document in documents:
        content = hashlib.sha256("\n".join(document).encode()).digest()
        share = int.from_bytes(content[:8], "little") / 2**64
        split = "held_out" if share < held_out else "train"
        writers[split].add_document([next(ids) for _ in document])


def _content_digest(tokenizer: WordPiece, splits: dict[str, Any]) -> str:
    arrays = [array["sha256"] for part in splits.values() for array in part["arrays"].values()]
    return hashlib.sha256("\0".join((tokenizer.digest, *arrays)).encode()).hexdigest()


def _versions() -> dict[str, str]:
    packages = ("numpy", "tensorstore", "tokenizers")
    versions = {package: importlib.metadata.version(package) for package in packages}
    return {"python": platform.python_version(), **versions}


@contextlib.contextmanager
def _workplace(folder: epath.Path) -> Iterator[epath.Path]:
    """A folder to work in that becomes `folder` at the end, and is removed on any failure."""
    if "://" in str(folder):  # nothing to rename there: the manifest, written last, decides
        yield folder
        return
    _remove_abandoned(folder)
    workplace = folder.parent / f".{folder.name}.{socket.gethostname()}.{os.getpid()}.partial"
    shutil.rmtree(workplace, ignore_errors=True)
    workplace.mkdir()
    try:
        yield workplace
        if folder.exists() and not (folder / _MANIFEST).exists():
            shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # another process was first
            os.rename(workplace, folder)
        if not (folder / _MANIFEST).exists():
            raise UserError(f"cannot rename {workplace} to {folder}; check its permissions")
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def _remove_abandoned(folder: epath.Path) -> None:
    """Removes what killed processes of this machine left of preparing the same corpus."""
    prefix = f".{folder.name}.{socket.gethostname()}."
    for path in folder.parent.glob(f"{prefix}*.partial"):
        owner = path.name.removeprefix(prefix).removesuffix(".partial")
        if owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(path, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextlib.contextmanager
def _user_errors_of_the_disk(folder: epath.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno == errno.ENOSPC or "No space left" in str(error)
        reason = "no space left on the disk" if full else str(error)
        raise UserError(
            f"cannot write {folder}: {reason}; make room or give another cache_dir"
        ) from None
