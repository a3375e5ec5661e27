"""Tokenizers behind one interface: trained here, or opened from published files."""

from plmjax.data.tokenizers.base import ROLES, Tokenizer, require_id
from plmjax.data.tokenizers.wordpiece import (
    SPECIAL_TOKENS,
    WordPiece,
    read_vocabulary,
    train_wordpiece,
)

__all__ = [
    "ROLES",
    "SPECIAL_TOKENS",
    "Tokenizer",
    "WordPiece",
    "read_vocabulary",
    "require_id",
    "train_wordpiece",
]
