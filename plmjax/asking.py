"""A loaded model that is asked in text: how likely texts are, and what follows a prompt."""

import dataclasses
import functools
from collections.abc import Iterable, Sequence

import numpy as np

from plmjax.data.plans import FRAMES
from plmjax.data.tokenizers.written import Writing, cut_before, stopped
from plmjax.decoding.generation import Generator
from plmjax.decoding.scoring import Score, Scorer, kind_of
from plmjax.decoding.settings import DecodingConfig
from plmjax.errors import UserError
from plmjax.evals.in_context.perplexity import InOrder, TextLikelihood, orders, windows
from plmjax.evals.in_context.prompts import Piece
from plmjax.loaded import Loaded


class Model:
    """What `load_model` returned, asked in text.

    Args:
      loaded: the model.
      rows: texts of a batch.
    """

    def __init__(self, loaded: Loaded, rows: int = 16):
        self.loaded, self.rows = loaded, rows
        begin, frame = framing_of(loaded)
        self.scorer = Scorer(
            *(loaded.objective, loaded.params, loaded.mesh, loaded.rules),
            begin=begin,
            frame=frame,
            pad=loaded.pad,
            mask=loaded.tokenizer.mask_id,
            rows=rows,
        )

    @property
    def kind(self) -> str:
        """`decoder`, `encoder_decoder` or `encoder`."""
        return self.scorer.kind

    def likelihoods(
        self, pieces: Sequence[Piece], apart: bool = False, end: bool = False
    ) -> list[Score]:
        """How likely the model finds each piece's text after what is before it.

        White space at the end of what is before is counted to the text, and the two are made to
        tokens as one, as by lm_eval, so that the tokens are those of running text. A decoder reads
        what is behind the text as part of it. A T5 finds its first sentinel in place of the text,
        and its target is sentinel and text, as in its pretraining, where something is behind it.

        Args:
          pieces: may be equal to each other, which costs nothing.
          apart: whether `before` and text are made to tokens one by one.
          end: whether the end of the document is scored behind the text of a decoder.
        """
        asked = {piece: n for n, piece in enumerate(dict.fromkeys(pieces))}
        if self.kind == "encoder":
            ids = self._encoded(part for piece in asked for part in _parts(piece))
            texts = [tuple(ids[part] for part in _parts(piece)) for piece in asked]
            found = self.scorer.cloze(texts)
        else:
            found = self.scorer.scores(self._pairs(list(asked), apart, end))
            # Of a sentinel in place of the text, which is given.
            skip = {piece: bool(piece.after) and self._has_sentinels for piece in asked}
            found = [_without_first(*pair) for pair in zip(found, skip.values(), strict=True)]
        return [found[asked[piece]] for piece in pieces]

    def of_text(self, text: str, stride: int = 0) -> TextLikelihood:
        """How likely a decoder finds a whole text; see `perplexity.windows` for the stride.

        Raises:
          UserError: for an empty text, or a model that is no decoder.
        """
        if self.kind != "decoder":
            instead = "; name a model of gpt"
            if self.kind == "encoder":
                instead = " but in an order; give --order=left, right or random"
            raise UserError(
                f"--model={self.loaded.path} is no decoder, and has no perplexity of a text"
                f"{instead}"
            )
        ids = self._ids_of(text)
        pairs = [
            (ids[max(first, 0) : scored], ids[scored:end])
            for first, scored, end in windows(len(ids), self.scorer.longest, stride)
        ]
        total = sum(score.total for score in self.scorer.scores(pairs))
        return _likelihood(total, len(ids), text)

    def in_order(self, text: str, asked: InOrder) -> list[TextLikelihood]:
        """How likely a masked language model finds a whole text, told in an order: one each draw.

        The text is cut into windows, none of which knows of another. Each of their tokens is told
        from those before it in the order, all others being masked (PMLM, Liao et al. 2020).

        Raises:
          UserError: for an empty text, a model that fills in no blanks, or too long a window.
        """
        if self.kind != "encoder":
            raise UserError(
                f"--order={asked.order} is of models that fill in blanks, and --model="
                f"{self.loaded.path} is of the family {self.loaded.family}, which tells a text from"
                " the left; leave it out"
            )
        ids, size = self._ids_of(text), asked.window or self.window
        if size > self._room:
            raise UserError(
                f"--window={size} is more than the {self._room} tokens of text that the model reads"
                " at once; give less"
            )
        totals = np.zeros(asked.draws if asked.order == "random" else 1)
        for number, first in enumerate(range(0, len(ids), size)):
            part = ids[first : first + size].tolist()
            drawn = orders(len(part), asked.order, asked.draws, asked.seed, number)
            scores = self.scorer.in_order([(part, order.tolist()) for order in drawn])
            totals += [score.total for score in scores]
        return [_likelihood(float(total), len(ids), text) for total in totals]

    @property
    def window(self) -> int:
        """The tokens of text of a row as the model was trained, of one that fills in blanks."""
        trained = self.loaded.settings.data.seq_len - sum(map(len, self.scorer.frame))
        return min(trained, self._room)

    @property
    def _room(self) -> int:
        return self.scorer.longest - sum(map(len, self.scorer.frame))

    def _ids_of(self, text: str) -> np.ndarray:
        ids = self._encoded([text])[text]
        if not len(ids):
            raise UserError("the text is empty, and has no perplexity; give one with words in it")
        return ids

    def written(
        self, prompts: Sequence[str], stop: Sequence[str], **decoding: object
    ) -> tuple[list[str], int]:
        """What the model writes after each prompt, up to the first string of `stop`.

        Args:
          prompts: cut from the left where they leave no room for `max_new_tokens`.
          stop: strings that end a text and are not in it.
          **decoding: fields of `DecodingConfig`.

        Returns:
          The texts, and how many prompts were cut.

        Raises:
          UserError: for a model that only fills in blanks, or more tokens than it has room for.
        """
        if self.kind == "encoder":
            raise UserError(
                f"--model={self.loaded.path} is of the family {self.loaded.family}, which fills in"
                " blanks and does not write; take a task of kind choice or cloze, or a model of"
                " gpt, t5 or bart"
            )
        forced = self.loaded.framing.forced_begin
        if forced is not None:
            decoding = {"forced_begin": forced, **decoding}
        config = DecodingConfig(**decoding, stop_tokens=self._stop_tokens(tuple(stop)))
        ids, asked = self._encoded(prompts), dict.fromkeys(prompts)
        left, right = self.loaded.framing.before, self.loaded.framing.after
        new = config.max_new_tokens if self.kind == "decoder" else 0
        room = self.scorer.longest - new - len(left) - len(right)
        if room < 1:
            raise UserError(
                f"max_new_tokens={new} leaves no room for a prompt in the {self.scorer.longest}"
                " tokens that the model reads at once; give less"
            )
        cut = sum(len(ids[prompt]) > room for prompt in prompts)
        framed = [[*left, *ids[prompt][-room:], *right] for prompt in asked]

        writing = Writing(self.loaded.tokenizer, goes_on=self.kind == "decoder")
        asks = stop and config.beams == 1
        ended = functools.partial(stopped, writing, stop) if asks else None
        made = self._generator.generate(framed, config, stop=ended)
        texts = [writing.text(several[0].tokens) for several in made]
        cuts = [cut_before(text, stop) for text in texts]
        kept = [text if short is None else short for text, short in zip(texts, cuts, strict=True)]
        found = dict(zip(asked, kept, strict=True))
        return [found[prompt] for prompt in prompts], cut

    @functools.cached_property
    def _generator(self) -> Generator:
        return Generator.of(self.loaded, most_rows=4 * self.rows)

    @functools.lru_cache(maxsize=8)  # noqa: B019 - one model lives as long as its process
    def _stop_tokens(self, stop: tuple[str, ...]) -> tuple[int, ...]:
        """Tokens that begin with a string of `stop`: behind them nothing is of use."""
        tokenizer = self.loaded.tokenizer
        special = set(tokenizer.special_ids)
        texts = ((n, tokenizer.decode([n])) for n in range(tokenizer.vocab_size))
        return tuple(n for n, text in texts if n not in special and text.startswith(stop))

    @property
    def _has_sentinels(self) -> bool:
        return self.kind == "encoder_decoder" and bool(self.loaded.tokenizer.sentinel_ids)

    def _encoded(self, texts: Iterable[str]) -> dict[str, np.ndarray]:
        several = list(dict.fromkeys(texts))
        return dict(zip(several, self.loaded.tokenizer.encode_batch(several), strict=True))

    def _pairs(
        self, pieces: Sequence[Piece], apart: bool, end: bool
    ) -> list[tuple[Sequence[int], Sequence[int]]]:
        if self.kind == "encoder_decoder":
            return self._source_and_target(pieces)
        moved = [(piece.before, piece.text + piece.after) for piece in pieces]
        if not apart:
            moved = [_space_moved(*pair) for pair in moved]
        texts = [text if apart else before + text for before, text in moved]
        ids = self._encoded([*(before for before, _ in moved), *texts])
        last = self.loaded.end[:1] if end else ()
        pairs = []
        for (before, text), whole in zip(moved, texts, strict=True):
            context = ids[before]
            rest = ids[whole] if apart else ids[whole][len(context) :]
            if not len(rest):  # the two have one token in common
                rest = self._encoded([text])[text]
            pairs.append((context, [*rest, *last]))
        return pairs

    def _source_and_target(
        self, pieces: Sequence[Piece]
    ) -> list[tuple[Sequence[int], Sequence[int]]]:
        ids = self._encoded(part for piece in pieces for part in (*_parts(piece), piece.text))
        pairs = []
        for piece in pieces:
            before, text, after = (ids[part] for part in _parts(piece))
            if piece.after and self._has_sentinels:
                blank = self.loaded.tokenizer.sentinel_ids[0]
                pairs.append(([*before, blank, *after], [blank, *text]))
            else:
                pairs.append((before, [*ids[piece.text], *after]))
        return pairs


def _likelihood(total: float, tokens: int, text: str) -> TextLikelihood:
    return TextLikelihood(total, tokens, len(text.split()), len(text), len(text.encode()))


def framing_of(loaded: Loaded) -> tuple[tuple[int, ...], tuple[tuple[int, ...], tuple[int, ...]]]:
    """What a text begins with, and what surrounds a source or a text with a blank."""
    framing, tokenizer = loaded.framing, loaded.tokenizer
    begin = () if framing.begin is None else (framing.begin,)
    if loaded.is_seq2seq:
        forced = framing.forced_begin
        first = framing.before if forced is None else (forced,)
        return begin + first, (framing.before, framing.after)
    if kind_of(loaded.objective) == "decoder":
        return begin, (framing.before, ())
    frame = FRAMES[loaded.settings.data.frame]
    sides = ([tokenizer.id_of(role) for role in roles] for roles in (frame.begin, frame.after))
    left, right = (tuple(n for n in side if n is not None) for side in sides)
    return begin, (left, right)


def _without_first(score: Score, is_given: bool) -> Score:
    return dataclasses.replace(score, logprobs=score.logprobs[1:]) if is_given else score


def _parts(piece: Piece) -> tuple[str, str, str]:
    return (*_space_moved(piece.before, piece.text), piece.after)


def _space_moved(before: str, text: str) -> tuple[str, str]:
    """White space at the end of `before` is made the beginning of the text."""
    kept = before.rstrip()
    return kept, before[len(kept) :] + text
