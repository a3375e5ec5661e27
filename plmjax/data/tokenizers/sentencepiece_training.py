"""Training SentencePiece models with the special pieces of the published ones."""

import io
import re
from collections.abc import Iterable, Iterator
from typing import Any

import sentencepiece

from plmjax.data.tokenizers.base import without_surplus
from plmjax.data.tokenizers.sentencepiece import T5_SENTINELS, SentencePiece, _lowercase, rewritten
from plmjax.errors import UserError

ALGORITHMS = ("unigram", "bpe")
# The trainer holds all it sees, several times over.
_TRAINING_CHARACTERS = 30_000_000
_LONGEST = 2048  # characters of a line: longer ones are cut, the trainer would leave them out
_OF_THEIR_OWN = [".", "(", ")", '"', "-", "–", "£", "€"]  # never parts of a longer piece
# What the trainers of the published models were told; ids of the special pieces follow from it.
_OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {
        "pad_id": 0,
        "unk_id": 1,
        "bos_id": 2,
        "eos_id": 3,
        "control_symbols": ["<cls>", "<sep>", "<mask>", "<eod>"],
    },
    "xlnet": {
        "control_symbols": ["<cls>", "<sep>", "<pad>", "<mask>", "<eod>"],
        "user_defined_symbols": ["<eop>", *_OF_THEIR_OWN],
        "character_coverage": 0.99995,
    },
    "albert": {
        "pad_id": 0,
        "unk_id": 1,
        "bos_id": -1,
        "eos_id": -1,
        "control_symbols": ["[CLS]", "[SEP]", "[MASK]"],
        "user_defined_symbols": ["(", ")", '"', "-", ".", "–", "£", "€"],
        "character_coverage": 0.99995,
    },
    "t5": {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    "xlm_r": {},
    "cpm": {
        "control_symbols": ["<sep>", "<pad>", "<mask>", "<eod>"],
        "user_defined_symbols": ["\u2583", "\u2582"],
    },
}
_ADDED = {"t5": T5_SENTINELS, "xlm_r": 2}  # tokens besides the model's own pieces


def train_sentencepiece(
    texts: Iterable[str],
    vocab_size: int,
    style: str = "plain",
    algorithm: str = "unigram",
    lowercase: bool | None = None,
) -> SentencePiece:
    """Trains a SentencePiece; the same texts give the same model.

    Of a corpus of more than 30 million characters, texts evenly spread over it are looked at.

    Args:
      texts: read once.
      vocab_size: tokens in all, with sentinels and special tokens.
      style: see `SentencePiece`.
      algorithm: `unigram` or `bpe`.
      lowercase: only of XLNet and ALBERT; None takes the published models'.

    Raises:
      UserError: where the texts have too many characters or too few pieces for `vocab_size`.
    """
    lower = _lowercase(style, lowercase)
    lines = (rewritten(text, style, lower) for text in texts)
    model = train_model(lines, vocab_size, style, algorithm)
    return SentencePiece(model, style, lower)


def train_model(texts: Iterable[str], vocab_size: int, style: str, algorithm: str) -> bytes:
    """The model that `train_sentencepiece` and CPM's training wrap."""
    if algorithm not in ALGORITHMS:
        raise UserError(f"algorithm={algorithm} is not known; give one of {', '.join(ALGORITHMS)}")
    lines = list(_lines(without_surplus(texts, _TRAINING_CHARACTERS)))
    if not lines:
        raise UserError("there is no text to train a tokenizer on; give a corpus that has some")
    added = _ADDED.get(style, 0)
    if vocab_size <= added:
        raise UserError(
            f"vocab_size={vocab_size} has no room for anything but the {added} tokens that {style} "
            "adds; give more"
        )
    buffer = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(lines),
            model_writer=buffer,
            vocab_size=vocab_size - added,
            model_type=algorithm,
            max_sentence_length=8 * _LONGEST,
            num_threads=16,  # sums are rounded differently with another number, so it is fixed
            minloglevel=3,
            **{"character_coverage": 0.9995} | _OPTIONS[style],
        )
    except RuntimeError as error:
        raise UserError(_explained(str(error), vocab_size, added)) from None
    return buffer.getvalue()


def stand_in_model(vocab_size: int, style: str) -> bytes:
    """A model with the special pieces of one that will be trained, and as many in all.

    Args:
      vocab_size: tokens in all, with sentinels and special tokens.
      style: as of `train_model`.
    """
    from sentencepiece import sentencepiece_model_pb2

    options = {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1} | _OPTIONS[style]
    named = {"unk_id": "<unk>", "bos_id": "<s>", "eos_id": "</s>", "pad_id": "<pad>"}
    special = {options[key]: piece for key, piece in named.items() if options[key] >= 0}
    symbols = [*options.get("control_symbols", ()), *options.get("user_defined_symbols", ())]
    # The trainer puts them where these leave places, from the first on.
    free = (place for place in range(vocab_size) if place not in special)
    special |= dict(zip(free, symbols, strict=False))
    model = sentencepiece_model_pb2.ModelProto()
    kinds = sentencepiece_model_pb2.ModelProto.SentencePiece
    users = set(options.get("user_defined_symbols", ()))
    for place in range(vocab_size - _ADDED.get(style, 0)):
        piece = special.get(place)
        kind = kinds.USER_DEFINED if piece in users else kinds.CONTROL
        kind = {"<unk>": kinds.UNKNOWN, None: kinds.NORMAL}.get(piece, kind)
        model.pieces.add(piece=piece or f"w{place}", score=0.0, type=kind)
    return model.SerializeToString()


def _lines(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for line in text.splitlines():
            while len(line) > _LONGEST:
                cut = line.rfind(" ", 1, _LONGEST) + 1 or _LONGEST
                yield line[:cut]
                line = line[cut:]
            if line.strip():
                yield line


def _explained(message: str, vocab_size: int, added: int) -> str:
    if most := re.search(r"too high .* value <= (\d+)", message):
        return (
            f"vocab_size={vocab_size} is more than this text has pieces for; give "
            f"{int(most[1]) + added} or less, or more text"
        )
    if least := re.search(r"smaller than required_chars\.? +\d+ vs (\d+)", message):
        return (
            f"vocab_size={vocab_size} has no room for the characters of the corpus; give at least "
            f"{int(least[1]) + added + 100}"
        )
    reason = " ".join(message.split())
    return f"SentencePiece cannot train vocab_size={vocab_size} on this text: {reason}"
