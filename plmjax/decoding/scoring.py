"""How likely a model finds given texts: log-likelihoods by full forward passes, no decoding.

Decoders score continuations of contexts, encoder-decoders targets of sources, and models that fill
in blanks what stands in one. What counts as one token after the other, and what is cut where a
context is too long, follows EleutherAI/lm-evaluation-harness (lm_eval/models/huggingface.py).
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh

from plmjax.decoding.told import decoder, encoder, encoder_decoder
from plmjax.errors import UserError
from plmjax.parallel.rules import (
    RULES,
    batch_sharding,
    batch_shards,
    on_mesh,
    placed,
    replicated,
)
from plmjax.types import Batch

Tokens = Sequence[int]


@dataclasses.dataclass(frozen=True)
class Score:
    """What a model says of a text.

    Attributes:
      logprobs: of each token that was scored, natural logarithms, float64 [T].
      is_greedy: whether each of them is the token that the model finds likeliest there.
      cut: tokens of the context that the model had no room for, the first ones.
    """

    logprobs: np.ndarray
    is_greedy: bool
    cut: int = 0

    @property
    def total(self) -> float:
        """The log-likelihood of the whole text."""
        return float(self.logprobs.sum())

    @property
    def tokens(self) -> int:
        """How many tokens were scored."""
        return len(self.logprobs)


def kind_of(objective: nn.Module) -> str:
    """`decoder`, `encoder_decoder` or `encoder`: how a model of this objective is asked.

    Raises:
      UserError: for one that can be asked in none of these ways.
    """
    if "decoder_tokens" in objective.batch_keys():
        return "encoder_decoder"
    if objective.fills_blanks:
        return "encoder"
    if objective.predicts == "lm":
        return "decoder"
    raise UserError(
        f"a model of the objective {type(objective).__name__} has no likelihoods of texts here;"
        " take a decoder, an encoder-decoder or a model with a masked-language-model head"
    )


@dataclasses.dataclass(frozen=True)
class Scorer:
    """Scores token ids with a model on a mesh.

    Texts are sorted by length and padded to one of few lengths, `rows` at a time, so that there is
    one compilation for each of these shapes.

    Attributes:
      objective: the model with what predicts tokens; its decoder is under `backbone`.
      params: as `objective.apply` takes them, on the mesh.
      mesh, rules: how everything is laid out.
      begin: ids before a text that has nothing before it: of a decoder without a context (the end
        of a document, say), and what the decoder of an encoder-decoder reads first.
      frame: ids before and behind a source, or a text with a blank; of a decoder those before each
        context, where it was trained with any.
      pad: the id of padding.
      mask: the id of the mask, for models that fill in blanks.
      rows: texts of a batch, rounded up to what the mesh splits it into.
    """

    objective: nn.Module
    params: Any
    mesh: Mesh
    rules: tuple = RULES
    begin: tuple[int, ...] = ()
    frame: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    pad: int = 0
    mask: int | None = None
    rows: int = 16

    @functools.cached_property
    def kind(self) -> str:
        """As `kind_of`."""
        return kind_of(self.objective)

    @property
    def longest(self) -> int:
        """The most tokens that the model reads at once."""
        return self.objective.backbone.config.longest

    def scores(self, pairs: Sequence[tuple[Tokens, Tokens]]) -> list[Score]:
        """The log-likelihood of each continuation given its context, or target given its source.

        A context that is too long loses its first tokens. Of a masked language model it is the
        pseudo-log-likelihood; see `cloze`.

        Args:
          pairs: ids without special ones; a context may be empty.

        Raises:
          UserError: for a continuation that is empty or alone too long, and for an empty context
            where the model has no `begin`.
        """
        if self.kind == "encoder":
            return self.cloze([(context, text, ()) for context, text in pairs])
        make = self._target if self.kind == "encoder_decoder" else self._continuation
        return self._scored([[make(*pair)] for pair in pairs])

    def cloze(
        self, texts: Sequence[tuple[Tokens, Tokens, Tokens]], hide_rest: bool = False
    ) -> list[Score]:
        """The pseudo-log-likelihood of what stands in a blank, by a masked language model.

        Each token of it is masked alone, and the logarithms of what the model says of them are
        added (Salazar et al. 2020). With `hide_rest` the tokens behind it in the blank are masked,
        too, so that a word does not gain by being cut into pieces that tell of each other (Kauf &
        Ivanova 2023).

        Args:
          texts: ids before the blank, in it and behind it, without special ones.
          hide_rest: see above.

        Raises:
          UserError: for an empty blank, or a model without a mask.
        """
        if self.kind != "encoder" or self.mask is None:
            raise UserError(
                "blanks are filled in by masked language models, and this is none; score the text"
                " behind the blank as a continuation"
            )
        return self._scored([self._masked(*text, hide_rest=hide_rest) for text in texts])

    def in_order(self, texts: Sequence[tuple[Tokens, Sequence[int]]]) -> list[Score]:
        """The log-likelihood of whole texts in an order, by a masked language model.

        Each token is told from those before it in the order, all others being masked (PMLM, Liao et
        al. 2020); this is not the pseudo-log-likelihood of `cloze`. XLNet tells all of them at
        once: also what it makes of a token knows only of those before that one.

        Args:
          texts: ids without special ones, and a permutation of their places; in its order stand the
            log-probabilities.

        Raises:
          UserError: for an empty text or one that is too long.
        """
        return self._scored([self._uncovered(*text) for text in texts])

    def _continuation(self, context: Tokens, text: Tokens) -> "_Row":
        self._check(text)
        before = [*self.frame[0], *context] or list(self.begin)
        if not before:
            raise UserError(
                "nothing stands before a text without a context, since the tokenizer has no token"
                " that begins or ends a document; give a context"
            )
        # The last token is predicted and not read.
        cut = max(0, len(before) + len(text) - 1 - self.longest)
        tokens = [*before[cut:], *text][:-1]
        first = len(tokens) - len(text)
        return _Row(tokens, range(first, len(tokens)), text, cut=cut)

    def _target(self, source: Tokens, text: Tokens) -> "_Row":
        self._check(text)
        left, right = self.frame
        cut = max(0, len(left) + len(source) + len(right) - self.longest)
        tokens = [*self.begin, *text][:-1]
        first = len(self.begin) - 1
        places = range(first, first + len(text))
        return _Row(tokens, places, text, source=[*left, *source[cut:], *right], cut=cut)

    def _masked(self, before: Tokens, text: Tokens, after: Tokens, hide_rest: bool) -> list["_Row"]:
        self._check(text)
        left, right = self.frame
        room = self.longest - len(left) - len(text) - len(right)
        # What is nearest to the blank stays: first the text before it gives way, then what follows.
        cut = min(len(before), max(0, len(before) + len(after) - room))
        lost = max(0, len(after) - room)
        whole = [*left, *before[cut:], *text, *after[: len(after) - lost], *right]
        first, end = len(left) + len(before) - cut, len(left) + len(before) - cut + len(text)
        rows = []
        for place in range(first, end):
            tokens = list(whole)
            hidden = end - place if hide_rest else 1
            tokens[place : place + hidden] = [self.mask] * hidden
            rows.append(_Row(tokens, [place], [whole[place]], cut=cut + lost))
        return rows

    def _uncovered(self, text: Tokens, order: Sequence[int]) -> list["_Row"]:
        self._check(text)
        left, right = self.frame
        if self._reads_ranks:
            ranks = np.zeros(len(left) + len(text) + len(right), np.int32)
            places = len(left) + np.asarray(order)
            ranks[places] = 1 + np.arange(len(text))
            targets = [text[place] for place in order]
            return [_Row([*left, *text, *right], places, targets, ranks=ranks)]
        shown, rows = [*left, *[self.mask] * len(text), *right], []
        for place in order:
            rows.append(_Row(tuple(shown), [len(left) + place], [text[place]]))
            shown[len(left) + place] = text[place]
        return rows

    @property
    def _reads_ranks(self) -> bool:
        return "ranks" in self.objective.batch_keys()

    def _ranks(self, row: "_Row") -> Sequence[int]:
        """Of each token; those that are hidden by a mask come last, and none sees another."""
        return row.ranks if len(row.ranks) else [int(token == self.mask) for token in row.tokens]

    def _check(self, text: Tokens) -> None:
        # What is read besides: of the last token nothing but by what fills in a blank.
        special = {"decoder": 0, "encoder_decoder": len(self.begin) - 1}
        room = self.longest - special.get(self.kind, sum(map(len, self.frame)))
        if not len(text):
            raise UserError("a text to score is empty; give one with at least one token")
        if len(text) > room:
            raise UserError(
                f"a text to score has {len(text)} tokens, and the model reads {self.longest} at"
                " once; give shorter texts, or score it as a file by --task=perplexity:FILE"
            )

    def _scored(self, texts: Sequence[Sequence["_Row"]]) -> list[Score]:
        """Puts together what is said of the rows of each text."""
        found = iter(self._run([row for rows in texts for row in rows]))
        scores = []
        for rows in texts:
            told = [next(found) for _ in rows]
            logprobs = np.concatenate([logprobs for logprobs, _ in told])
            is_greedy = all(bool(hits.all()) for _, hits in told)
            scores.append(Score(logprobs, is_greedy, rows[0].cut))
        return scores

    def _run(self, rows: Sequence["_Row"]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Log-probability and whether it is the likeliest, of each target of each row."""
        results: list = [None] * len(rows)

        def take(numbers: list[int], told: tuple[jax.Array, jax.Array]) -> None:
            logprobs_BM, hits_BM = jax.device_get(told)
            for row, number in enumerate(numbers):
                size = len(rows[number].targets)
                results[number] = logprobs_BM[row, :size].astype(np.float64), hits_BM[row, :size]

        before = None  # one batch is computed while the one before it is read
        with on_mesh(self.mesh, self.rules):
            for numbers, shape in self._batches(rows):
                batch = self._batch([rows[number] for number in numbers], shape)
                dispatched = numbers, self._compiled(self.params, batch)
                if before is not None:
                    take(*before)
                before = dispatched
        if before is not None:
            take(*before)
        return results

    @functools.cached_property
    def _batch_rows(self) -> int:
        shards = batch_shards(self.mesh, self.rules)
        return -(-self.rows // shards) * shards

    def _batches(self, rows: Sequence["_Row"]) -> Iterator[tuple[list[int], tuple[int, int, int]]]:
        """The numbers of the rows of each batch, and its lengths S (0 for none), L and M."""
        shapes: dict[tuple[int, int, int], list[int]] = {}
        longest = self.longest
        for number, row in enumerate(rows):
            length = bucket(len(row.tokens), longest)
            source = bucket(len(row.source), longest) if row.source else 0
            slots = min(length, 1 if len(row.targets) == 1 else bucket(len(row.targets), length, 8))
            shapes.setdefault((source, length, slots), []).append(number)
        for shape in sorted(shapes, reverse=True):  # what needs the most memory comes first
            numbers = shapes[shape]
            for begin in range(0, len(numbers), self._batch_rows):
                yield numbers[begin : begin + self._batch_rows], shape

    def _batch(self, rows: Sequence["_Row"], shape: tuple[int, int, int]) -> Batch:
        """Host arrays of the rows, padded to the shape, put on the devices."""
        source, length, slots = shape
        size = self._batch_rows
        batch = _padded([row.tokens for row in rows], size, length, self.pad)
        if source:
            padded = _padded([row.source for row in rows], size, source, self.pad)
            batch |= {f"source_{key}": array for key, array in padded.items()}
        if self._reads_ranks:
            ranks = [self._ranks(row) for row in rows]
            batch["ranks"] = _padded(ranks, size, length, 0)["tokens"]
        for key in ("places", "targets"):
            some = [list(getattr(row, key)) for row in rows]
            batch[key] = _padded(some, size, slots, 0)["tokens"]
        count = batch_shards(self.mesh, self.rules)
        return placed(batch, batch_sharding(self.mesh, self.rules), range(count), count)

    @functools.cached_property
    def _compiled(self) -> Any:
        ask = {"decoder": decoder, "encoder_decoder": encoder_decoder, "encoder": encoder}

        def run(params: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
            return self.objective.apply({"params": params}, batch, method=ask[self.kind])

        # A copy in each process, which can look at its own devices only.
        return jax.jit(run, out_shardings=replicated(self.mesh))


@dataclasses.dataclass(frozen=True)
class _Row:
    """One row of a batch: at `places` of `tokens` the model is asked for `targets`.

    ranks: of each token, where not only masks hide tokens.
    """

    tokens: Tokens
    places: Sequence[int]
    targets: Tokens
    source: Tokens = ()
    cut: int = 0
    ranks: Tokens = ()


def bucket(length: int, longest: int, least: int = 32) -> int:
    """The length that rows of `length` are padded to: 32, 48, 64, 96, ... and `longest`.

    Few enough that each is compiled for, near enough that at most a third is padding. (From 32 on
    in steps by a half and by a third; `least` is where they begin.)
    """
    size = least
    while size < length:
        half = size + size // 2
        size = half if half >= length else 2 * size
    return min(size, longest)


def _padded(rows: Sequence[Tokens], size: int, length: int, pad: int) -> dict[str, np.ndarray]:
    """`tokens` and `attention_mask` int32 [size, length], padded behind and below."""
    tokens_BL = np.full((size, length), pad, np.int32)
    mask_BL = np.zeros((size, length), np.int32)
    for number, row in enumerate(rows):
        tokens_BL[number, : len(row)] = row
        mask_BL[number, : len(row)] = 1
    mask_BL[len(rows) :, 0] = 1  # so that rows that are only padding have something to attend to
    return {"tokens": tokens_BL, "attention_mask": mask_BL}
