"""Real text as features: Python's language reference in English, reviews of shops in Chinese."""

import re

import numpy as np
import pytest

from plmjax.data.annotation import Annotator
from plmjax.data.counter_random import fold, key_of
from plmjax.data.flags import ENTITY, PHRASE, SENTENCE, SPECIAL, WORD
from plmjax.data.maskings import MaskingVocabulary
from plmjax.data.phrases import Dictionary
from plmjax.data.segmenters import open_segmenter
from plmjax.data.tokenizers import SPECIAL_TOKENS, train_wordpiece
from tests.data.real_text import chinese_lines
from tests.requires import need

_PHRASES = [
    "电视剧",
    "性价比",
    "送货速度",
    "笔记本电脑",
    "没有什么",
    "这本书",
    "服务态度",
    "非常满意",
    "值得一看",
]
_ENTITIES = [
    "当当网",
    "卓越网",
    "惠普",
    "联想",
    "诺基亚",
    "海尔",
    "蒙牛",
    "伊利",
    "携程",
    "北京",
    "上海",
    "深圳",
]


class Text:
    """A stream of tokens with flags, and the vocabulary that made it."""

    def __init__(self, ids, flags, vocabulary, tokenizer):
        self.ids, self.flags = ids, flags
        self.vocabulary, self.tokenizer = vocabulary, tokenizer

    def features(self, rows, length, lengths=None, layout="pair", seed=0):
        """Rows of text from random places: "pair" is [CLS] A [SEP] B [SEP], "bare" has no special.

        `lengths` are tokens with specials, all `length` if None.
        """
        rng = np.random.default_rng(seed)
        lengths = np.full(rows, length) if lengths is None else np.asarray(lengths)
        starts = rng.integers(0, len(self.ids) - length, rows)
        at = starts[:, None] + np.arange(length)
        tokens, flags = self.ids[at], self.flags[at]
        place = np.arange(length)[None]
        last = lengths[:, None] - 1
        if layout != "bare":
            is_sep = place == last
            if layout == "pair":
                is_sep |= place == lengths[:, None] // 2
            tokens[is_sep], flags[is_sep] = self.vocabulary.sep_id, SPECIAL
            tokens[:, 0], flags[:, 0] = self.vocabulary.cls_id, SPECIAL
        mask = (place <= last).astype(np.int32)
        tokens[mask == 0], flags[mask == 0] = self.vocabulary.pad_id, 0
        seeds = fold(key_of(seed, "features"), np.arange(rows, dtype=np.uint64))
        return {"tokens": tokens, "attention_mask": mask, "flags": flags, "seeds": seeds}


def _vocabulary(tokenizer, ids):
    special = tuple(sorted(tokenizer.vocabulary.index(token) for token in SPECIAL_TOKENS))
    size = tokenizer.vocab_size
    return MaskingVocabulary(
        vocab_size=size + 120,
        special_ids=(*special, *range(size, size + 120)),
        pad_id=tokenizer.pad_id,
        mask_id=tokenizer.mask_id,
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
        bos_id=tokenizer.cls_id,
        eos_id=tokenizer.sep_id,
        sentinel_ids=tuple(range(size + 119, size - 1, -1)),
        token_counts=np.bincount(ids, minlength=size + 120),
        word_starts=np.concatenate([tokenizer.word_starts, np.ones(120, bool)]),
    )


@pytest.fixture(scope="session")
def english():
    from pydoc_data.topics import topics

    prose = re.sub(r"\s+", " ", " ".join(topics[name] for name in sorted(topics)))
    sentences = re.split(r"(?<=[.:;]) ", prose)[:12000]
    tokenizer = train_wordpiece(lambda: sentences, 1500, True)
    encoded = [ids for ids in tokenizer.encode_batch(sentences) if len(ids)]
    ids = np.concatenate(encoded)
    flags = np.where(tokenizer.word_starts[ids], WORD, 0).astype(np.uint8)
    flags[np.cumsum([0] + [len(row) for row in encoded[:-1]])] |= SENTENCE
    words = np.flatnonzero(flags & WORD)
    rng = np.random.default_rng(5)
    for bit, most in ((PHRASE, 3), (ENTITY, 5)):
        begins = np.cumsum(rng.integers(1, most + 1, len(words)))
        flags[words[np.concatenate([[0], begins[begins < len(words)]])]] |= bit
    return Text(ids.astype(np.int32), flags, _vocabulary(tokenizer, ids), tokenizer)


@pytest.fixture(scope="session")
def chinese():
    """One token a character; words by the segmenter, phrases and entities by dictionaries."""
    need("rjieba", "pip install rjieba")
    lines = list(chinese_lines()[:30000:10])
    tokenizer = train_wordpiece(lambda: lines, 2500, True)
    annotator = Annotator(
        tokenizer, open_segmenter("rjieba"), Dictionary(_PHRASES), Dictionary(_ENTITIES)
    )
    encoded = [row for row in annotator.encode(lines) if len(row[0])]
    ids, flags = (np.concatenate(parts) for parts in zip(*encoded, strict=True))
    flags[np.cumsum([0] + [len(row) for row, _ in encoded[:-1]])] |= SENTENCE
    flags[1:][ids[:-1] == tokenizer.vocabulary.index("。")] |= SENTENCE
    return Text(ids.astype(np.int32), flags, _vocabulary(tokenizer, ids), tokenizer)


@pytest.fixture(scope="session")
def lengths():
    """Rows of all lengths, more long ones than short ones."""
    rng = np.random.default_rng(3)
    return np.maximum(5, (128 * np.sqrt(rng.random(1500))).astype(int))
