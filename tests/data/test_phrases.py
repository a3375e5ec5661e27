import random
import re

import pytest

from plmjax.data.phrases import Dictionary, read_dictionary
from plmjax.errors import UserError
from tests.data.real_text import chinese_lines, english_lines


def test_matches_are_those_of_a_regular_expression_english():
    rng = random.Random(0)
    lines = [line for line in english_lines() if line.isascii()][:1500]
    entries = set()
    while len(entries) < 3000:  # some words, some phrases, some cut out of the middle of words
        words = re.findall(r"[A-Za-z0-9]+", rng.choice(lines))
        if words:
            first = rng.randrange(len(words))
            entry = " ".join(words[first : first + rng.choice((1, 2, 3, 4))])
            entries.add(entry[: rng.choice((3, 8, 99))].strip())
    _compare(entries, lines, r"(?<![A-Za-z0-9])(?:{})(?![A-Za-z0-9])")


def test_matches_are_those_of_a_regular_expression_chinese():
    rng = random.Random(1)
    lines = [line for line in chinese_lines() if not re.search("[a-zA-Z0-9０-９Ａ-ｚ]", line)][
        :1500
    ]
    entries = set()
    while len(entries) < 3000:
        line = rng.choice(lines)
        begin = rng.randrange(len(line))
        entries.add(line[begin : begin + rng.randint(1, 6)].strip())
    _compare(entries, lines, "(?:{})")


def _compare(entries, lines, frame):
    dictionary = Dictionary(list(entries))
    longest_first = sorted(filter(None, entries), key=len, reverse=True)
    pattern = re.compile(frame.format("|".join(map(re.escape, longest_first))))
    found = 0
    for line in lines:
        expected = [match.span() for match in pattern.finditer(line)]
        assert dictionary.matches(line) == expected, line
        found += len(expected)
    assert found > 2000


def test_the_leftmost_longest_entry_at_word_borders_wins():
    dictionary = Dictionary(["北京", "北京大学", "大学生", "New", "New York", "art", "3D"])
    matches = {
        "在北京大学生活": [(1, 5)],
        "大学生在北京": [(0, 3), (4, 6)],
        "New Yorkers": [(0, 3)],
        "in New York": [(3, 11)],
        "party art": [(6, 9)],
        "用3D打印": [(1, 3)],
        "23D": [],
        "😀art😀": [(1, 4)],
    }
    assert {text: dictionary.matches(text) for text in matches} == matches


def test_a_dictionary_file_may_have_counts_and_tags(tmp_path):
    path = tmp_path / "phrases.txt"
    path.write_bytes(
        "\ufeffNew York\t120\r\n北京大学 3 nt\n\n自然语言处理 7\nCatch 22\t\nGPT-3\n".encode()
    )
    dictionary = read_dictionary(path)
    entries = {"New York", "北京大学", "自然语言处理", "Catch 22", "GPT-3"}
    assert set(dictionary.entries) == entries
    assert dictionary.digest == Dictionary(sorted(entries, reverse=True)).digest
    assert dictionary.digest != Dictionary(["GPT-3"]).digest


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no dictionary .* at"),
        (b"", "has no entries"),
        (b"\n \n", "has no entries"),
        ("北京\n大学".encode("gbk"), r"not UTF-8 at offset 0 \(line 1\)"),
        (b"ok\nfine \xff\n", r"not UTF-8 at offset 8 \(line 2\)"),
    ],
)
def test_a_bad_dictionary_is_one_clear_line(tmp_path, content, message):
    if content is not None:
        (tmp_path / "phrases.txt").write_bytes(content)
    with pytest.raises(UserError, match=message) as raised:
        read_dictionary(tmp_path / "phrases.txt")
    assert "\n" not in str(raised.value)
