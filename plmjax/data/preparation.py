"""A prepared corpus: opened from a store, or made once for each content and setting."""

import contextlib
import dataclasses
import errno
import hashlib
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from typing import Any

from etils import epath

from plmjax.data import manifest
from plmjax.data.building import Hands, Work, build_store
from plmjax.data.merging import SPLITS
from plmjax.data.phrases import read_dictionary
from plmjax.data.progress import Reporter
from plmjax.data.sources import Source, open_source
from plmjax.data.store import SplitReader
from plmjax.data.text_settings import DICTIONARIES, TextSettings
from plmjax.data.tokenizers import CASED, Tokenizer, load_tokenizer, stand_in_tokenizer
from plmjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class CorpusConfig:
    """What to train on.

    Attributes:
      store: the folder of a store that `python -m plmjax.prepare` made; the other settings are not
        used then.
      source: a sample such as `sample:pydoc`, or a kind and files such as `text:/data/*.txt`; see
        `plmjax.data.sources.KINDS`. Several have a semicolon between, and each its name before a
        `=` where that of its kind is not wanted: `en=text:/data/en.txt;fr=text:/data/fr.txt`.
      cache_dir: where corpora prepared from `source` are kept; a local path, or one such as
        gs://bucket/folder.
      tokenizer: a kind, see `plmjax.data.tokenizers.opening`.
      vocab_file: published files of that kind, for `wordpiece` a vocab.txt; empty to train a
        tokenizer on the source.
      vocab_size: size of the tokenizer to train; not used with `vocab_file`.
      lowercase: whether text is lower-cased and stripped of accents, where the kind has a choice:
        `wordpiece`, `xlnet` and `albert`.
      phrases, entities: files of what belongs together beyond words, one a line; empty for none,
        and `sample:people_daily` for the names that are marked in that text.
      capitals: whether it is kept which words begin with a capital letter, whatever `lowercase` is.
      held_out: share of the documents, picked by their content, that is never trained on.
    """

    store: str = ""
    source: str = "sample:pydoc"
    cache_dir: str = "~/.cache/plmjax"
    tokenizer: str = "wordpiece"
    vocab_file: str = ""
    vocab_size: int = 4096
    lowercase: bool = True
    phrases: str = ""
    entities: str = ""
    capitals: bool = False
    held_out: float = 0.05

    def __post_init__(self):
        if not 0 <= self.held_out < 1:
            raise UserError(f"held_out={self.held_out} is not a share; give 0 <= held_out < 1")
        if self.vocab_size < 100:
            raise UserError(f"vocab_size={self.vocab_size} is too small; give 100 or more")

    def text_settings(self) -> TextSettings:
        """The same in the words of the preparation."""
        return TextSettings(
            tokenizer=self.tokenizer,
            tokenizer_path=self.vocab_file,
            vocab_size=self.vocab_size,
            lowercase=str(self.lowercase).lower() if self.tokenizer in CASED else "",
            phrases=self.phrases,
            entities=self.entities,
            capitals=self.capitals,
        )


@dataclasses.dataclass(frozen=True)
class PreparedCorpus:
    """A tokenizer and the token store it made.

    Attributes:
      path: the folder of both.
      manifest: what is in it and how it was made.
      tokenizer: made or read in preparation.
      train, held_out: the two splits of each source, by its name.
    """

    path: str
    manifest: dict[str, Any]
    tokenizer: Tokenizer
    train: dict[str, SplitReader]
    held_out: dict[str, SplitReader]

    @property
    def digest(self) -> str:
        """Hex digest of the tokenizer and of every token, flag and boundary of every split."""
        return self.manifest["digest"]

    @property
    def similar_words(self) -> str:
        """Where its own table of similar words is, or will be, for the masking that reads one."""
        return str(epath.Path(self.path) / f"similar_words-{self.digest[:12]}.npz")


def prepare(config: CorpusConfig, *, quiet: bool = False) -> PreparedCorpus:
    """Opens the store, or prepares the source, or opens what the same content was prepared to.

    The folder's name is a hash of the raw text and the settings. Work happens in a folder beside
    it that is renamed when complete, so that a reader never meets half of one, and of two
    processes that prepare the same corpus one wins and the other uses its work.

    Raises:
      UserError: for a missing, empty or undecodable corpus, an unusable vocabulary, a damaged
        store, and where there is no room on the disk.
    """
    if config.store:
        return open_prepared(epath.Path(config.store).expanduser())
    report = Reporter(quiet)
    if not config.source:
        raise UserError(
            "config.corpus.source is empty; give what to train on, such as"
            " --config.corpus.source='text:/data/*.txt', or a store as config.corpus.store"
        )
    sources = tuple(open_source(spec) for spec in config.source.split(";"))
    folder = epath.Path(config.cache_dir).expanduser() / _folder_name(config, sources)
    if (folder / manifest.FILE).exists():
        report.say(f"corpus: reusing {folder}")
        return open_prepared(folder)
    work = Work(sources, config.text_settings(), held_out=config.held_out)
    with user_errors_of_the_disk(folder, "give another cache_dir"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _workplace(folder) as workplace:
            build_store(workplace, work, Hands(), report)
    report.say(f"corpus: {folder}")
    return open_prepared(folder)


def given_tokenizer(config: CorpusConfig) -> Tokenizer | None:
    """The tokenizer of the store or of the vocabulary that is named; None if one is to be trained.

    Raises:
      UserError: where the store or the vocabulary is not there.
    """
    if config.store:
        folder = epath.Path(config.store).expanduser()
        manifest.read_manifest(folder)
        return load_tokenizer(folder)
    return config.text_settings().given_tokenizer("config.corpus.vocab_file")


def foreseen_tokenizer(config: CorpusConfig) -> Tokenizer:
    """The tokenizer that the corpus has or will have.

    For one that is still to be trained there is a `stand_in_tokenizer`, so that a run can be
    checked before its corpus is prepared.

    Raises:
      UserError: where the store or the vocabulary is not there, or for a kind there is none of.
    """
    given = given_tokenizer(config)
    if given is not None:
        return given
    cased = config.text_settings().cased
    return stand_in_tokenizer(config.tokenizer, config.vocab_size, lowercase=cased)


def open_prepared(folder: str | os.PathLike) -> PreparedCorpus:
    """Opens a store.

    Raises:
      UserError: where it is incomplete or damaged, or its tokenizer is not the one of its tokens.
    """
    folder = epath.Path(folder)
    about = manifest.read_manifest(folder)
    for name, expected in about["tokenizer"]["files"].items():
        if manifest.sha256_of(folder / name) != expected:
            raise UserError(
                f"{folder / name} is not the one that the tokens were made with: it fails its "
                "checksum; put it back, or remove the folder and prepare the data again"
            )
    tokenizer = load_tokenizer(folder)
    expected = about["tokenizer"]["digest"]
    if tokenizer.digest != expected:
        raise UserError(
            f"the tokenizer in {folder} is not the one that its tokens were made with (digest "
            f"{tokenizer.digest[:12]}, expected {expected[:12]}); remove the folder and prepare "
            "the data again"
        )
    splits = {
        split: {
            name: SplitReader(str(folder / name / split), source["splits"][split], name)
            for name, source in about["sources"].items()
        }
        for split in SPLITS
    }
    return PreparedCorpus(str(folder), about, tokenizer, **splits)


def _folder_name(config: CorpusConfig, sources: Sequence[Source]) -> str:
    given = given_tokenizer(config)
    kind = "" if config.tokenizer == "wordpiece" else f"{config.tokenizer} "
    vocabulary = given.digest if given else f"{kind}{config.vocab_size} {config.lowercase}"
    prints = [source.fingerprint() for source in sources]
    if len(sources) > 1:  # where their names matter
        prints = [f"{source.name} {mark}" for source, mark in zip(sources, prints, strict=True)]
    parts = [manifest.FORMAT, *prints, vocabulary, config.held_out]
    for name in DICTIONARIES:
        if path := getattr(config, name):
            parts.append(f"{name} {read_dictionary(path).digest}")
    parts += ["capitals"] * config.capitals
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()
    return f"{sources[0].name}-{digest[:20]}"


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
        if folder.exists() and not (folder / manifest.FILE).exists():
            shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # another process was first
            os.rename(workplace, folder)
        if not (folder / manifest.FILE).exists():
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
def user_errors_of_the_disk(folder: epath.Path, remedy: str) -> Iterator[None]:
    """Turns what the machine's owner can mend into a UserError that ends with `remedy`."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
        reason = "no space left on the disk" if full else str(error)
        raise UserError(f"cannot write {folder}: {reason}; make room or {remedy}") from None
