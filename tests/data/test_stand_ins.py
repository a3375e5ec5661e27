"""What stands for a tokenizer before it is trained is like the one that training makes."""

import dataclasses

import pytest

from plmjax.data.preparation import CorpusConfig, foreseen_tokenizer
from plmjax.data.tokenizers import ROLES, TRAINABLE, stand_in_tokenizer, train_tokenizer
from plmjax.errors import UserError
from tests.requires import need

TEXTS = (
    "the quick brown fox (jumps) over - the lazy dog",
    "pack my box with five dozen liquor jugs",
    "清华大学 的 学生 爱 北京",
)
SIZES = {"wordpiece": 100, "gpt2": 300, "roberta": 300, "t5": 150, "xlnet": 56}
"""What there is text for."""


@pytest.mark.parametrize("kind", TRAINABLE)
def test_special_tokens_are_where_training_puts_them(kind):
    if kind == "cpm":
        need("jieba", "pip install jieba")
    size = SIZES.get(kind, 50)
    trained = train_tokenizer(kind, lambda: TEXTS * 5, size)
    stand_in = stand_in_tokenizer(kind, size)
    assert stand_in.vocab_size == trained.vocab_size
    assert stand_in.roles == trained.roles
    assert [stand_in.id_of(role) for role in ROLES] == [trained.id_of(role) for role in ROLES]
    assert stand_in.special_ids == trained.special_ids
    assert stand_in.sentinel_ids == trained.sentinel_ids
    assert stand_in.kind == trained.kind


def test_a_corpus_foresees_the_kind_that_it_names():
    config = CorpusConfig(tokenizer="t5", vocab_size=32_100)
    assert foreseen_tokenizer(config).sentinel_ids[0] == 32_099
    assert foreseen_tokenizer(CorpusConfig()).kind == "wordpiece"


def test_a_kind_there_is_none_of_is_one_line():
    with pytest.raises(UserError, match="tokenizer=gpt9 is not known here; give one of wordpiece"):
        foreseen_tokenizer(CorpusConfig(tokenizer="gpt9"))


def test_lower_case_is_a_setting_of_the_kinds_that_have_the_choice():
    cased = CorpusConfig(tokenizer="albert", lowercase=False)
    assert foreseen_tokenizer(cased) != foreseen_tokenizer(
        dataclasses.replace(cased, lowercase=True)
    )
    assert foreseen_tokenizer(CorpusConfig(tokenizer="gpt2")).kind == "byte_bpe"
