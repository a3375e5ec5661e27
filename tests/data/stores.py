"""Small stores in English and Chinese, with every special token that a frame or masking can need.

They are written once into a folder; any process can open them there.
"""

import dataclasses
import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from plmjax.data.annotation import Annotator
from plmjax.data.maskings import make_similar_words
from plmjax.data.phrases import Dictionary
from plmjax.data.segmenters import open_segmenter
from plmjax.data.store import SplitReader, SplitWriter
from plmjax.data.tokenizers import WordPiece, train_wordpiece

_ENGLISH_TEXT = """
river engine teacher orchard parliament violin glacier market harbour valley library station
follows repairs admires crosses measures forgets describes paints over under quietly again
"""
_CHINESE_TEXT = """
语言 模型 文本 词语 学生 图书馆 论文 北京 清华大学 机器学习 阅读 研究 遮盖 切分 预训练 喜欢
我们 他们 昨天 已经 非常 和 的 在 了
"""
_ENGLISH, _CHINESE = _ENGLISH_TEXT.split(), _CHINESE_TEXT.split()
_PHRASES = Dictionary(["glacier market", "river valley", "机器学习 论文", "北京清华大学"])
_ENTITIES = Dictionary(["library station", "北京图书馆"])
_MORE_TOKENS = ("<s>", "</s>", "<eod>", *(f"<extra_id_{n}>" for n in range(60)))
_FILE, _TABLE = "stores.json", "similar.npz"


@dataclasses.dataclass(frozen=True)
class EveryRole(WordPiece):
    """A WordPiece whose vocabulary has the ends of sequences and documents, and T5's sentinels."""

    @property
    def roles(self) -> dict[str, str]:
        return super().roles | {"bos": "<s>", "eos": "</s>", "eod": "<eod>"}


@dataclasses.dataclass(frozen=True)
class Stores:
    """What `write_stores` has written.

    text, pairs: three sources each, by name; every document of `pairs` has two sentences.
    similar_words: the path of a table for the masking of that name.
    """

    tokenizer: EveryRole
    text: dict[str, SplitReader]
    pairs: dict[str, SplitReader]
    similar_words: str


def write_stores(folder: Path) -> None:
    """Writes all of them; the folder exists."""
    rng = random.Random(3)
    documents = {
        "text": {
            "english": [_document(rng, _english) for _ in range(60)],
            "chinese": [_document(rng, _chinese) for _ in range(40)],
            "mixed": [_document(rng, _english, _chinese) for _ in range(25)],
        },
        "pairs": {
            "en-zh": [[_english(rng), _chinese(rng)] for _ in range(150)],
            "zh-en": [[_chinese(rng), _english(rng)] for _ in range(70)],
            "en-en": [[_english(rng), _english(rng)] for _ in range(40)],
        },
    }
    tokenizer = _trained(documents["text"])
    about = {
        kind: {name: _written(folder / name, rows, tokenizer) for name, rows in sources.items()}
        for kind, sources in documents.items()
    }
    about["vocabulary"] = tokenizer.vocabulary
    (folder / _FILE).write_text(json.dumps(about))
    words = [*_ENGLISH, *_CHINESE]
    vectors = np.random.default_rng(0).normal(size=(len(words), 6))
    lines = [" ".join([word, *map(str, row)]) for word, row in zip(words, vectors, strict=True)]
    (folder / "vectors.txt").write_text(f"{len(words)} 6\n" + "\n".join(lines) + "\n")
    table = make_similar_words(folder / "vectors.txt", tokenizer.encode_batch, tokenizer.vocab_size)
    table.save(folder / _TABLE)


def open_stores(folder: Path) -> Stores:
    """Opens what `write_stores` has written."""
    about = json.loads((folder / _FILE).read_text())
    text, pairs = (
        {name: SplitReader(str(folder / name), part, name) for name, part in about[kind].items()}
        for kind in ("text", "pairs")
    )
    tokenizer = EveryRole(tuple(about["vocabulary"]))
    return Stores(tokenizer, text, pairs, str(folder / _TABLE))


def _trained(sources: dict[str, list[list[str]]]) -> EveryRole:
    sentences = [text for rows in sources.values() for row in rows for text in row]
    trained = train_wordpiece(lambda: sentences, 260, True)
    return EveryRole((*trained.vocabulary, *_MORE_TOKENS))


def _written(folder: Path, documents: list[list[str]], tokenizer: EveryRole) -> dict:
    annotator = Annotator(tokenizer, open_segmenter("rjieba"), _PHRASES, _ENTITIES)
    writer = SplitWriter(str(folder), tokenizer.vocab_size)
    for sentences in documents:
        ids, flags = zip(*annotator.encode(sentences), strict=True)
        lengths = np.array([len(row) for row in ids])
        writer.add(np.concatenate(ids), np.concatenate(flags), lengths, np.array([len(ids)]))
    return writer.finish()


def _english(rng: random.Random) -> str:
    most = 60 if rng.random() < 0.05 else 12  # some are longer than a row
    return " ".join(rng.choice(_ENGLISH) for _ in range(rng.randint(1, most))) + "."


def _chinese(rng: random.Random) -> str:
    return "".join(rng.choice(_CHINESE) for _ in range(rng.randint(1, 12))) + "。"


def _document(rng: random.Random, *languages) -> list[str]:
    return list(_sentences(rng, languages, rng.choice((1, 2, 3, 5, 8, 20))))


def _sentences(rng: random.Random, languages: tuple, count: int) -> Iterator[str]:
    for _ in range(count):
        yield rng.choice(languages)(rng)
