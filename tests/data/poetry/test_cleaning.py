import pytest

from plmjax.data.poetry import cleaning
from plmjax.data.poetry.cleaning import cleaned, theme_of
from plmjax.data.poetry.forms import FORMS, Poem, form_of, parsed, regular_form
from plmjax.data.poetry.reading import Record
from plmjax.errors import UserError
from tests.data.poetry.collection import CI, QIJUE, QILU, WUJUE, WULU


def made(text: str, title: str = "題", tune: str = "", longest: int = 126) -> Poem | str:
    return cleaned(Record(title, tune, text), longest, 16)


@pytest.mark.parametrize(
    ("form", "paragraphs"), [("wujue", WUJUE), ("qijue", QIJUE), ("wulu", WULU), ("qilu", QILU)]
)
def test_a_regular_form_is_known_by_its_lines(form, paragraphs):
    poem = made("".join(paragraphs))
    assert (poem.form, poem.body) == (form, "".join(paragraphs))
    assert len(poem.body) == FORMS[form].length


@pytest.mark.parametrize(
    "lines", [("一二三四五",) * 3, ("一二三四五",) * 6, ("一二三四五六",) * 4, ("一二三四五",) * 12]
)
def test_other_shapes_have_no_form(lines):
    assert regular_form(lines) == ""
    assert made("，".join(lines)) == cleaning.NO_FORM


def test_one_line_of_another_length_is_enough():
    assert regular_form(("一二三四五",) * 3 + ("一二三四五六七",)) == ""


@pytest.mark.parametrize(
    "text",
    [
        "白日依山盡，黃河入海流（一作東流）。欲窮千里目，更上一層樓。",
        "白日依山盡，黃河入海流。欲窮千里目，更上一層[樓]。",
        "「白日依山盡，黃河入海流。」欲窮千里目，更上一層樓。",
        "白日依山盡；黃河入海流！欲窮千里目，更上一層樓？",
        "白日依山盡，黃河入海流。〖按：（某本）無此句〗欲窮千里目，更上一層樓。",
        "白日依山盡，黃河入海流。[一作某某]欲窮千里目，\n更上一層樓。",
    ],
)
def test_notes_and_marks_go(text):
    assert made(text).body == "".join(WUJUE)


@pytest.mark.parametrize("sign", ["□", "{亻麗}", "○", "■", "…", "a"])
def test_a_poem_with_missing_characters_is_left_out(sign):
    assert made(f"白日依山{sign}，黃河入海流。欲窮千里目，更上一層樓。") == cleaning.UNREADABLE


def test_other_reasons():
    assert made("") == made("（缺）") == cleaning.NO_TEXT
    assert made("".join(WULU), longest=40) == cleaning.TOO_LONG
    assert made("".join(CI), tune="失調名") == cleaning.NO_TUNE


@pytest.mark.parametrize(
    ("title", "theme"),
    [
        ("登鸛雀樓", "登鸛雀樓"),
        ("帝京篇十首 一", "帝京篇"),
        ("九日奉呈同僚四絕句  其一", "九日奉呈同僚四絕句"),
        ("樂府雜曲 鼓吹曲辭 有所思", "有所思"),
        ("贈汪倫（一作送別）", "贈汪倫"),
        ("偈頌一百零二首  其一三", "偈頌"),
        ("句", ""),
        ("失題", ""),
        ("", ""),
        ("一二首", "一二首"),
        ("送" * 17, ""),
    ],
)
def test_a_title_becomes_a_theme(title, theme):
    assert theme_of(title, 16) == theme


def test_ci_keep_their_marks_and_have_their_tune_for_a_form():
    poem = made("".join(CI), title="", tune="如梦令・春晚")
    assert poem == Poem("ci", "", "".join(CI).replace("？", "。"), "如梦令")
    assert poem.text.startswith("如梦令(格式)(诗歌标题)昨夜")


def test_the_published_layout_goes_there_and_back():
    poem = Poem("wujue", "登鹳雀楼", "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。")
    assert poem.text == f"五言绝句(格式)登鹳雀楼(诗歌标题){poem.body}"
    for one in (poem, Poem("ci", "", "知否，知否。", "如梦令"), Poem("couplet", "春风", "秋月。")):
        assert parsed(one.text) == one
    assert parsed("床前明月光") is None


@pytest.mark.parametrize("name", ["wujue", "五言绝句"])
def test_forms_have_names_to_type(name):
    assert form_of(name) == "wujue"
    assert form_of("wulü") == "wulu"


def test_an_unknown_form_is_one_line():
    with pytest.raises(UserError, match="the form 'wujeu' is unknown; did you mean 'wujue'"):
        form_of("wujeu")
