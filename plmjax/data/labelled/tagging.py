"""A label for each word of a sentence: parts of speech, names, where Chinese words begin."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from plmjax.data.labelled.base import FLOAT32, INT32, Features, LabelledTask, Shapes, field, framed
from plmjax.data.labelled.rows import Row
from plmjax.data.labelled.text_tasks import given_names, in_order, number_of
from plmjax.data.plans.layout import Layout
from plmjax.data.tokenizers import Tokenizer
from plmjax.errors import UserError

OUTSIDE = "O"
"""The tag of what is in no entity."""

SCHEMES = ("", "bioes")


@dataclasses.dataclass(frozen=True)
class Tagging(LabelledTask):
    """A tag for each word; in Chinese for each character.

    The first piece of each word has its tag, the others none (Devlin et al. 2019, section 5.3). A
    sentence that is longer than a row makes several features, so that every word gets a tag.

    Attributes:
      text, label: the fields that have lists of a sentence's words, and of their tags.
      labels: the tags, with commas between, in the order of their numbers; empty for those of the
        training set, sorted.
      scheme: `bioes` learns BIO's tags as BIOES; empty as they are.
    """

    text: str = "tokens"
    label: str = "tags"
    labels: str = ""
    scheme: str = ""

    kind: ClassVar[str] = "tagging"
    default_metric: ClassVar[str] = "entity_f1"

    def __post_init__(self):
        super().__post_init__()
        if self.scheme not in SCHEMES:
            raise UserError(f"scheme='{self.scheme}' is unknown; give bioes, or leave it empty")

    def classes(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """As of `LabelledTask`."""
        found = {tag for row in rows for tag in self.tags(row)}
        return tuple(given_names(self.labels) or sorted(found, key=in_order))

    def words(self, row: Row) -> list[str]:
        """The words of a sentence.

        Raises:
          UserError: where there are none.
        """
        words = field(row, self.text, "config.task.text")
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise UserError(f"{row.where}: the field '{self.text}' is no list of words")
        if not words:
            raise UserError(f"{row.where}: the field '{self.text}' is empty")
        return words

    def tags(self, row: Row) -> list[str]:
        """The tags of a sentence, as they are learned.

        Raises:
          UserError: where they are not as many as the words.
        """
        tags = field(row, self.label, "config.task.label")
        if not isinstance(tags, list) or len(tags) != len(self.words(row)):
            count = f"{len(tags)} tags" if isinstance(tags, list) else f"{tags!r}"
            raise UserError(
                f"{row.where}: {len(self.words(row))} words and {count} in '{self.label}'; expected"
                " a tag for each"
            )
        tags = [str(tag) for tag in tags]
        return bioes(tags) if self.scheme else tags

    def check(self, row: Row, classes: Sequence[str]) -> None:
        """As of `LabelledTask`."""
        for tag in self.tags(row):
            number_of(tag, classes, row)

    def stand_in(self, row: Row, classes: Sequence[str]) -> dict[str, Any]:
        """As of `LabelledTask`."""
        return {self.label: [classes[0]] * len(self.words(row))}

    def spec(self, seq_len: int, classes: int) -> Shapes:
        """As of `LabelledTask`: `tags` int32 [L] and `tag_weights` float32 [L], 1 where one is."""
        row = (seq_len,), INT32
        given = {key: row for key in ("tokens", "token_types", "attention_mask", "tags")}
        return {**given, "tag_weights": ((seq_len,), FLOAT32)}

    def features(
        self, rows: Sequence[Row], classes: Sequence[str], tokenizer: Tokenizer, layout: Layout
    ) -> Features:
        """As of `LabelledTask`; `places` are the places of words in each feature's row."""
        sentences = [self.words(row) for row in rows]
        flat = tokenizer.encode_batch([text for words in sentences for text in spaced(words)])
        numbers = {name: number for number, name in enumerate(classes)}
        unknown = np.array([tokenizer.unk_id or 0], np.int32)
        ids, types, places, owners, tags = [], [], [], [], []
        at = 0
        for owner, words in enumerate(sentences):
            pieces = [some if len(some) else unknown for some in flat[at : at + len(words)]]
            at += len(words)
            truth = self.tags(rows[owner])
            for first, last in spans_of(pieces, layout.room(1)):
                # A single word that fills a row loses its end.
                some = np.concatenate(pieces[first:last])[: layout.room(1)]
                row, of_type = framed(layout, [some])
                lengths = [len(piece) for piece in pieces[first:last]]
                where = np.cumsum([len(layout.head_first), *lengths[:-1]])
                ids.append([row])
                types.append([of_type])
                places.append(where)
                owners.append(owner)
                tags.append(truth[first:last])
        shape = len(ids), layout.seq_len
        targets = np.zeros(shape, np.int32)
        weights = np.zeros(shape, np.float32)
        for number, (where, some) in enumerate(zip(places, tags, strict=True)):
            targets[number, where] = [numbers.get(tag, 0) for tag in some]
            weights[number, where] = 1
        of = {"tags": targets, "tag_weights": weights}
        named = (places, tuple(classes))
        return Features(ids, types, of, np.array(owners), 0, named, of_tokens=tuple(of))

    def references(self, rows: Sequence[Row], classes: Sequence[str]) -> list[list[str]]:
        """As of `LabelledTask`: lists of tags."""
        return [self.tags(row) for row in rows]

    def predictions(
        self, features: Features, logits: np.ndarray, rows: Sequence[Row]
    ) -> list[list[str]]:
        """As of `LabelledTask`: lists of tags; `logits` are [N, L, C]."""
        places, classes = features.places
        found: list[list[str]] = [[] for _ in rows]
        best = logits.argmax(-1)
        for number, (owner, where) in enumerate(zip(features.owners, places, strict=True)):
            found[owner] += [classes[tag] for tag in best[number, where]]
        return found

    def usual(self, references: list[list[str]], rows: Sequence[Row]) -> list[list[str]]:
        """As of `LabelledTask`: the most frequent tag everywhere."""
        names, counts = np.unique([tag for tags in references for tag in tags], return_counts=True)
        return [[str(names[counts.argmax()])] * len(self.words(row)) for row in rows]

    def said(
        self, predictions: list[list[str]], logits: Any, classes: Any, rows: Any
    ) -> list[dict[str, Any]]:
        """As of `LabelledTask`."""
        return [{"predicted": tags} for tags in predictions]


def spaced(words: Sequence[str]) -> list[str]:
    """Words as they stand in running text: with a space before, but for the first and what follows
    or is an ideograph."""
    found = []
    for number, word in enumerate(words):
        apart = number and not (is_ideograph(word[:1]) or is_ideograph(words[number - 1][-1:]))
        found.append(f" {word}" if apart else word)
    return found


def is_ideograph(letter: str) -> bool:
    """Whether it is a Chinese character."""
    return bool(letter) and (0x3400 <= ord(letter) <= 0x9FFF or 0x20000 <= ord(letter) <= 0x3FFFF)


def spans_of(pieces: Sequence[np.ndarray], room: int) -> list[tuple[int, int]]:
    """Ranges of words that fit in a row with room for so many pieces, each as long as it can."""
    spans, first, used = [], 0, 0
    for number, piece in enumerate(pieces):
        if used and used + len(piece) > room:
            spans.append((first, number))
            first, used = number, 0
        used += len(piece)
    return [*spans, (first, len(pieces))]


def bioes(tags: Sequence[str]) -> list[str]:
    """BIO's tags as BIOES: an entity's last is E-, one of a single word is S-."""
    found = []
    for number, tag in enumerate(tags):
        following = tags[number + 1] if number + 1 < len(tags) else OUTSIDE
        goes_on = following == f"I-{tag[2:]}"
        if tag == OUTSIDE or tag[:2] not in ("B-", "I-"):
            found.append(tag)
        elif tag.startswith("B-"):
            found.append(tag if goes_on else f"S-{tag[2:]}")
        else:
            found.append(tag if goes_on else f"E-{tag[2:]}")
    return found
