"""Tokenizers behind one interface: trained here, or opened from published files."""

from plmjax.data.tokenizers.base import ROLES, Tokenizer, require_id, told_unknown, unknown_share
from plmjax.data.tokenizers.byte_bpe import ByteBPE, read_byte_bpe, train_byte_bpe
from plmjax.data.tokenizers.cpm import CPM, read_cpm, train_cpm
from plmjax.data.tokenizers.hugging_face import HuggingFace, read_tokenizer_json
from plmjax.data.tokenizers.opening import (
    CASED,
    KINDS,
    TRAINABLE,
    load_tokenizer,
    open_tokenizer,
    stand_in_tokenizer,
    train_tokenizer,
)
from plmjax.data.tokenizers.sentencepiece import SentencePiece, read_sentencepiece
from plmjax.data.tokenizers.sentencepiece_training import train_sentencepiece
from plmjax.data.tokenizers.wordpiece import (
    SPECIAL_TOKENS,
    WordPiece,
    read_vocabulary,
    train_wordpiece,
)

__all__ = [
    "CASED",
    "CPM",
    "KINDS",
    "ROLES",
    "SPECIAL_TOKENS",
    "TRAINABLE",
    "ByteBPE",
    "HuggingFace",
    "SentencePiece",
    "Tokenizer",
    "WordPiece",
    "load_tokenizer",
    "open_tokenizer",
    "read_byte_bpe",
    "read_cpm",
    "read_sentencepiece",
    "read_tokenizer_json",
    "read_vocabulary",
    "require_id",
    "stand_in_tokenizer",
    "told_unknown",
    "train_byte_bpe",
    "train_cpm",
    "train_sentencepiece",
    "train_tokenizer",
    "train_wordpiece",
    "unknown_share",
]
