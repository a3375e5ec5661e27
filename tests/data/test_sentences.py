import re

import pytest

from plmjax.data.sentences import split_sentences
from tests.data.real_text import chinese_lines, english_lines

# Cut by hand: "|" stands where a sentence ends.
ENGLISH = """
The dog barked. |It ran away! |Did you see it? |No.
"Is it late?" |She looked up. |"Yes," he said.
He said "Stop." |Then he left. |(It was late.) |Nobody cared.
See Fig. 3 and Sec. 2, e.g. the first one, i.e. that of Dr. Smith et al. in J. R. Smith.
We met Mr. Brown, Mrs. Green and Prof. White at St. Mary's vs. the others.
Version 3.11 costs $3.50. |It was released on Oct. 24.
They sell apples, pears, etc. |We do not.
Well… |He left... |Nobody knows why?! |Really.
Visit www.example.com. |It is free.
the end. and so on
No stop at all
Élan is nice. |Ça va. |Österreich, too.
"""
CHINESE = """
今天天气很好。|我们去公园吧！|你去吗？|我也去；|他不去
他说：“今天天气很好。”|然后他走了。
“你好！”|他说。|「再見。」|她走了。
（这是真的。）|没有人知道。
真的吗？！|真的！！！|太好了。。。|谢谢
我……|我不知道。|他想了想……”|走了。
他喊道“救命！”，没有人听见。
《你好吗？》、《再见！》是两本书。
他问：『真的吗？』|『真的。』
价格是3.14元。|Python 3.11 很好用。|It is good. |我喜欢。
好吗?|好的!|“走吧”他说
《红楼梦》。|【注】这里没有句子
"""


@pytest.mark.parametrize(
    "line", [line for line in (ENGLISH + CHINESE).split("\n") if line], ids=lambda line: line[:30]
)
def test_sentences_end_where_a_reader_ends_them(line):
    expected = [sentence.strip() for sentence in line.split("|")]
    assert split_sentences(line.replace("|", "")) == expected


def test_nothing_is_lost_and_no_sentence_is_empty():
    for lines in (english_lines()[:1500], chinese_lines()[:3000]):
        for begin in range(0, len(lines), 20):
            text = " ".join(lines[begin : begin + 20])
            sentences = split_sentences(text)
            assert all(sentence == sentence.strip() != "" for sentence in sentences)
            assert "".join(sentences).replace(" ", "") == "".join(text.split())


def test_chinese_sentences_end_in_stops_and_hold_none():
    ended, inside = 0, 0
    for line in chinese_lines()[:3000]:
        *sentences, _ = split_sentences(line) or [""]
        ended += sum(bool(re.search(r"[。！？；…!?.][”’」』）】》\"')]*$", s)) for s in sentences)
        inside += sum(bool(re.search(r"[。！？；][\w]", s)) for s in sentences)
        assert len(sentences) == 0 or ended
    assert ended > 5000
    assert inside == 0


def test_white_space_alone_is_no_sentence():
    assert split_sentences("") == split_sentences(" \n\t\u3000") == []
    assert split_sentences(" 中文。 \n 英文。 ") == ["中文。", "英文。"]
