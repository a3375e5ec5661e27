"""Real text as features: Python's language reference in English, a paragraph of Chinese."""

import re

import numpy as np
import pytest

from plmjax.data.counter_random import fold, key_of
from plmjax.data.flags import ENTITY, PHRASE, SENTENCE, SPECIAL, WORD
from plmjax.data.maskings import MaskingVocabulary
from plmjax.data.tokenizers import SPECIAL_TOKENS, WordPiece, train_wordpiece

# Segmented by hand.
_CHINESE = (
    "语言 模型 的 预训练 需要 大量 的 文本 。 我们 先 把 文本 切分 成 词语 ，"
    " 再 随机 遮盖 其中 的 一部分 。 清华大学 的 学生 在 北京 的 图书馆 里 阅读 机器学习 的 论文 。"
    " 中华人民共和国 成立 于 一九四九年 。"
)


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
    words = _CHINESE.split()
    characters = sorted(set("".join(words)))
    tokenizer = WordPiece((*SPECIAL_TOKENS, *characters), True)
    ids = np.concatenate(tokenizer.encode_batch(words)).astype(np.int32)
    lengths = [len(word) for word in words]
    assert len(ids) == sum(lengths)
    flags = np.zeros(len(ids), np.uint8)
    flags[np.cumsum([0, *lengths[:-1]])] = WORD | PHRASE | ENTITY
    flags[0] |= SENTENCE
    flags[1:][ids[:-1] == tokenizer.vocabulary.index("。")] |= SENTENCE
    ids, flags = np.tile(ids, 200), np.tile(flags, 200)
    return Text(ids, flags, _vocabulary(tokenizer, ids), tokenizer)


@pytest.fixture(scope="session")
def lengths():
    """Rows of all lengths, more long ones than short ones."""
    rng = np.random.default_rng(3)
    return np.maximum(5, (128 * np.sqrt(rng.random(1500))).astype(int))
