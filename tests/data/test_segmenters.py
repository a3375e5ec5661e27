import importlib
import re

import pytest

from plmjax.data import segmenters
from plmjax.data.segmenters import has_han, open_segmenter
from plmjax.errors import UserError
from tests.data.real_text import chinese_lines, mixed_lines
from tests.requires import need


def test_rjieba_is_the_default_and_loses_no_character():
    rjieba = need("rjieba", "pip install rjieba")
    segmenter = open_segmenter()
    assert segmenter.name == "rjieba"
    for line in mixed_lines(2000):
        words = segmenter.words(line)
        assert words == rjieba.cut(line)
        assert "".join(words) == line
        assert all(words)


def test_jieba_is_jieba_and_nearly_rjieba():
    jieba = need("jieba", "pip install jieba")
    lines = chinese_lines()[:1000]
    segmenter = open_segmenter("jieba")
    words = [segmenter.words(line) for line in lines]
    assert words == [list(jieba.cut(line)) for line in lines]
    same = sum(open_segmenter("rjieba").words(s) == w for s, w in zip(lines, words, strict=True))
    assert same > 0.97 * len(lines)


def test_segmented_text_gives_back_its_words_without_the_spaces():
    segmenter = open_segmenter("spaces")
    line = " 我们 爱  北京\u3000大学 ， 用 Python 3 和 deep learning 。 "
    words = ["我们", "爱", "北京", "大学", "，", "用", "Python 3", "和", "deep learning", "。"]
    assert segmenter.words(line) == words
    # Another segmenter's words, written apart, come back as they were.
    rjieba = open_segmenter("rjieba")
    only_wide = re.compile("[\u4e00-\u9fff，。！？：；“”、]+")
    lines = [line for line in chinese_lines() if only_wide.fullmatch(line)][:500]
    assert len(lines) == 500
    for line in lines:
        words = rjieba.words(line)
        assert segmenter.words(" ".join(words)) == words


def test_only_chinese_is_chinese():
    assert has_han("a 中") and has_han("𠀀") and has_han("豈")
    assert not any(map(has_han, ("", "abc", "naïve", "ひらカナ", "서울", "😀", "，。")))


def test_a_segmenter_that_is_not_there_is_one_clear_line(monkeypatch):
    assert open_segmenter("none") is None
    with pytest.raises(UserError, match="segmenter=thulac is not known; give one of rjieba, "):
        open_segmenter("thulac")

    def missing(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UserError, match=r"jieba is not installed.*pip install jieba"):
        segmenters.Jieba()
