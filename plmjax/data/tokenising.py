"""The work on one unit: read, clean, split into sentences, tokenise, write a part."""

import collections
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from etils import epath

from plmjax.data.annotation import Annotator
from plmjax.data.cleaning import Cleaning, Document
from plmjax.data.formats import Unit, documents
from plmjax.data.parts import Block, part_key, part_path, write_part
from plmjax.data.sentences import LONGEST_SENTENCE, cut_sentences, split_sentences
from plmjax.data.text_settings import open_annotator

_SENTENCES_AT_ONCE = 4096
_CHARACTERS_AT_ONCE = 1 << 20
_VERSION = 2  # goes up with every change of splitting, hashing or part files


@dataclasses.dataclass(frozen=True)
class Job:
    """All that a worker on any machine has to know.

    Attributes:
      store: the folder with the tokenizer and the dictionaries.
      parts: the folder of the parts.
      annotator_digest: of what the store's annotator does.
      cleaning: what is left out.
      held_out: share of the documents, picked by their content (by their groups, where they have
        some), that is never trained on.
      spacing: `collapse` makes white space single spaces and drops it between sentences, `keep`
        keeps all of it.
    """

    store: str
    parts: str
    annotator_digest: str
    cleaning: Cleaning
    held_out: float
    spacing: str

    @functools.cached_property
    def digest(self) -> str:
        """Hex digest of all that decides what a unit becomes."""
        # Duplicates are dropped later, where the parts are put together.
        cleaning = dataclasses.replace(self.cleaning, duplicates="keep")
        parts = (_VERSION, self.annotator_digest, cleaning, self.held_out, self.spacing)
        return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()

    def part(self, unit: Unit) -> epath.Path:
        """Where the part of a unit is, or will be."""
        return part_path(epath.Path(self.parts), part_key(self.digest, unit))


class Sentences(NamedTuple):
    """A document that is kept.

    texts: its sentences. pair: whether they are a sentence and its translation. group: see
    `Document`.
    """

    texts: list[str]
    pair: bool
    group: str


@functools.lru_cache(1)
def _annotator(store: str, digest: str) -> Annotator:
    del digest  # a store that was made anew in the same place has another annotator
    return open_annotator(store)


def make_part(job: Job, unit: Unit, advance: Callable[[int], None] = lambda _: None) -> None:
    """Makes the part of a unit, unless it is there.

    Raises:
      UserError: for what cannot be read, with file and offset.
      OSError: where the part cannot be written.
    """
    path = job.part(unit)
    if path.exists():
        advance(unit.size)
        return
    annotator = _annotator(job.store, job.annotator_digest)
    counts: collections.Counter = collections.Counter()
    strict = job.cleaning.invalid_utf8 == "error"
    found = sentences_of(documents(unit, advance, strict=strict, counts=counts), job, counts)
    blocks = (_block(batch, annotator, job, counts) for batch in _batches(found))
    write_part(path, (block for block in blocks if len(block.held_out_D)), lambda: counts)


def sentences_of(
    found: Iterator[Document], job: Job, counts: collections.Counter
) -> Iterator[Sentences]:
    """Yields each document that is kept."""
    for document in found:
        cleaned = job.cleaning.apply(document, counts)
        if cleaned is None:
            continue
        sentences = _split(cleaned, job.spacing == "keep")
        pair = cleaned.whole and len(cleaned.pieces) == 2
        if pair and (len(sentences) < 2 or max(map(len, sentences)) > LONGEST_SENTENCE):
            counts["incomplete_pairs"] += 1
        elif not sentences:
            counts["empty"] += 1
        else:
            counts["long_sentences_cut"] += sum(len(s) >= LONGEST_SENTENCE for s in sentences)
            yield Sentences(sentences, pair, cleaned.group)


def _split(document: Document, keep_spaces: bool) -> list[str]:
    if document.whole:
        kept = [(piece[:1] if keep_spaces else "", piece.split()) for piece in document.pieces]
        # White space before a sentence is its own, in one piece.
        return [" " * lead.isspace() + " ".join(words) for lead, words in kept if words]
    if keep_spaces:
        return _with_spaces("\n".join(document.pieces).strip())
    return [sentence for piece in document.pieces for sentence in split_sentences(piece)]


def _with_spaces(text: str) -> list[str]:
    """Sentences of all lines whose concatenation is the text; line ends begin a sentence."""
    sentences: list[str] = []
    waiting = ""
    for number, line in enumerate(text.split("\n")):
        waiting += "\n" if number else ""
        if not line.strip():
            waiting += line
            continue
        pieces = cut_sentences(line)
        sentences.append(waiting + pieces[0])
        sentences.extend(pieces[1:])
        waiting = ""
    return sentences


def _batches(found: Iterator[Sentences]) -> Iterator[list[Sentences]]:
    """Groups of documents with enough text to keep a tokenizer busy; a long one is alone."""
    group, sentences, characters = [], 0, 0
    for document in found:
        group.append(document)
        sentences += len(document.texts)
        characters += sum(map(len, document.texts))
        if sentences >= _SENTENCES_AT_ONCE or characters >= _CHARACTERS_AT_ONCE:
            yield group
            group, sentences, characters = [], 0, 0
    if group:
        yield group


def _encoded(texts: list[str], annotator: Annotator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """As the annotator, some megabyte of text at a time."""
    begin = characters = 0
    for end, text in enumerate(texts, 1):
        characters += len(text)
        if characters >= _CHARACTERS_AT_ONCE or end - begin >= _SENTENCES_AT_ONCE:
            yield from annotator.encode(texts[begin:end])
            begin, characters = end, 0
    if begin < len(texts):
        yield from annotator.encode(texts[begin:])


def _block(
    batch: list[Sentences],
    annotator: Annotator,
    job: Job,
    counts: collections.Counter,
) -> Block:
    encoded = list(_encoded([text for document in batch for text in document.texts], annotator))
    lengths = np.array([len(ids) for ids, _ in encoded], np.int64)
    hashes, groups, sizes, kept = [], [], [], np.ones(len(encoded), bool)
    start = 0
    for texts, pair, group in batch:
        end = start + len(texts)
        size = int(np.count_nonzero(lengths[start:end]))
        if pair and size < 2:
            counts["incomplete_pairs"] += 1
            kept[start:end] = False
        elif not size:
            counts["empty"] += 1
        else:
            hashes.append(_hash_of("\n".join(texts)))
            groups.append(_hash_of(group) if group else hashes[-1])
            sizes.append(size)
        start = end
    kept &= lengths > 0
    some = [pair for pair, keep in zip(encoded, kept.tolist(), strict=True) if keep]
    hashes_D2, groups_D2 = (
        np.frombuffer(b"".join(each), "<u8").reshape(-1, 2) for each in (hashes, groups)
    )
    return Block(
        held_out_D=(groups_D2[:, 0] / 2.0**64 < job.held_out).astype(np.uint8),
        hashes_D2=hashes_D2,
        document_lengths_D=np.array(sizes, np.uint32),
        sentence_lengths_S=lengths[kept].astype(np.uint32),
        flags_T=np.concatenate([np.zeros(0, np.uint8), *(flags for _, flags in some)]),
        tokens_T=np.concatenate([np.zeros(0, np.int32), *(ids for ids, _ in some)]).astype(
            np.uint32
        ),
    )


def _hash_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:16]
