"""Sentences whose words are marked, and the splits of a file that holds more than one."""

import pytest

from plmjax.data.labelled import read_set
from plmjax.errors import UserError
from plmjax.evals.metrics.tagging import tagged_words
from tests.data.labelled.test_tagged import CONLLU


def test_words_between_blanks_are_tags_of_characters(folder):
    rows = folder.fields("x.utf8", "扬帆　远东  做 与中国\n\n好\n", format="segmented")
    assert rows[0]["words"] == ["扬帆", "远东", "做", "与中国"]
    assert rows[0]["tokens"] == list("扬帆远东做与中国")
    assert rows[0]["tags"] == ["B", "E", "B", "E", "S", "B", "M", "E"]
    assert rows[1] == {"words": ["好"], "tokens": ["好"], "tags": ["S"]}
    assert folder.wheres("x.utf8", "好\n", format="segmented") == ["x.utf8, line 1"]


def test_the_metric_finds_the_words_again(folder):
    (row,) = folder.fields("x.txt", "我们 在 野生动物园 玩\n", format="segmented")
    found = ["".join(row["tokens"][a:b]) for a, b, _ in tagged_words(row["tags"])]
    assert found == row["words"]


def test_the_words_of_a_treebank(folder):
    rows = folder.fields("x.conllu", CONLLU, format="conllu_characters")
    assert rows[0]["words"] == ["I", "do", "n't", "like", "it", "."]
    assert rows[0]["tokens"] == list("Idon'tlikeit.")
    assert rows[0]["tags"] == list("SBEBMEBMMEBES")


def test_a_file_without_words(folder):
    assert folder.refused("x.txt", " \n\n", format="segmented") == "x.txt has no sentences"


XNLI = "language\tgold_label\tsentence1\tsentence2\n" + "".join(
    f"{name}\tneutral\t{name} {number}\tb\n" for number in range(2) for name in ("de", "zh")
)


def test_a_language_of_xnli_is_a_split(folder):
    folder.write("xnli.test.tsv", XNLI)
    rows = read_set("xnli", str(folder.path), "test_zh")
    assert [row.fields["sentence1"] for row in rows] == ["zh 0", "zh 1"]
    assert len(read_set("xnli", str(folder.path), "test")) == 4
    with pytest.raises(UserError, match="has no rows whose language is sw; is it the published"):
        read_set("xnli", str(folder.path), "test_sw")
