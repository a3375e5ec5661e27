import json
import sys

import pytest

from plmjax.data.poetry import corpus
from plmjax.data.poetry.corpus import CorpusSettings, build_corpus
from plmjax.data.poetry.forms import Poem
from plmjax.data.poetry.vocabulary import write_vocabulary
from plmjax.errors import UserError
from tests.data.poetry.collection import CI, QIJUE, QILU, WUJUE, WULU, ci, poem, write
from tests.requires import need

AS_IS = CorpusSettings(script="as_is", held_out=0.0)


@pytest.fixture
def folder(tmp_path):
    tang = [poem("登鸛雀樓", *WUJUE), poem("早發白帝城", *QIJUE), poem("春望", *WULU)]
    song = [
        poem("登高", *QILU),
        poem("又登鸛雀樓", *WUJUE),
        poem("殘", "□□依山盡，黃河入海流。"),
        poem("長", *WULU, *WUJUE),
        poem("空"),
    ]
    return write(tmp_path / "collection", tang, song, [ci("如梦令", *CI), ci("失调名", *CI)])


def lines(path):
    return path.read_text().splitlines()


def test_a_collection_becomes_a_file_a_form(folder, tmp_path):
    counts = build_corpus(str(folder), str(tmp_path / "poems"), AS_IS)
    out = tmp_path / "poems"
    assert lines(out / "wujue.txt") == [f"五言绝句(格式)登鸛雀樓(诗歌标题){''.join(WUJUE)}"]
    assert lines(out / "ci.txt")[0].startswith("如梦令(格式)(诗歌标题)昨夜雨疏风骤，")
    assert counts["read"] == {"ci": 2, "poems": 8}
    assert counts["left_out"] == {
        corpus.TWICE: 1,
        "with missing or unreadable characters": 1,
        "of other forms": 1,
        "without text": 1,
        "ci without a tune": 1,
    }
    assert json.loads((out / "counts.json").read_text()) == counts
    assert [p.form for p in corpus.training_poems(str(out))] == [
        "wujue", "qijue", "wulu", "qilu", "ci"
    ]  # fmt: skip


def test_the_middle_couplets_of_a_lushi_and_all_acrostics(folder, tmp_path):
    out = tmp_path / "poems"
    build_corpus(str(folder), str(out), AS_IS)
    assert lines(out / "couplet.txt") == [
        "对联(格式)感時花濺淚(诗歌标题)恨別鳥驚心。",
        "对联(格式)烽火連三月(诗歌标题)家書抵萬金。",
        "对联(格式)無邊落木蕭蕭下(诗歌标题)不盡長江滾滾來。",
        "对联(格式)萬里悲秋常作客(诗歌标题)百年多病獨登臺。",
    ]
    assert lines(out / "acrostic_qijue.txt") == [
        f"七言绝句(格式)朝千兩輕(诗歌标题){''.join(QIJUE)}"
    ]
    assert lines(out / "acrostic_wulu.txt")[0].startswith(
        "五言律诗(格式)國城感恨烽家白渾(诗歌标题)"
    )


def test_nothing_of_a_held_out_poem_is_trained_on(folder, tmp_path):
    out = tmp_path / "poems"
    counts = build_corpus(str(folder), str(out), CorpusSettings("as_is", held_out=0.999))
    assert set(counts["written"]) == {"held_out.txt"}
    assert len(corpus.held_out_poems(str(out))) == 5


def test_simplified_script_is_that_of_opencc(folder, tmp_path):
    need("opencc", "pip install -r requirements-ci.txt")
    out = tmp_path / "poems"
    build_corpus(str(folder), str(out), CorpusSettings(held_out=0.0))
    assert corpus.training_poems(str(out))[0] == Poem(
        "wujue", "登鹳雀楼", "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。"
    )


def test_without_opencc_the_error_says_what_to_install(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "opencc", None)
    with pytest.raises(UserError, match=r"pip install .*or give --script=as_is") as error:
        build_corpus(str(folder), str(tmp_path / "poems"), CorpusSettings())
    assert "\n" not in str(error.value)


def test_files_of_doubtful_poems_are_not_read(folder, tmp_path):
    before = build_corpus(str(folder), str(tmp_path / "before"), AS_IS)
    write(folder / "rank" / "poet", [{"author": "佚名", "baidu": 3}])
    write(folder / "error", [{"paragraphs": 3}])
    assert build_corpus(str(folder), str(tmp_path / "after"), AS_IS) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("{}", "holds no list of poems"),
        ('[{"paragraphs": ["一"], "title": "二"}, {"strains": []}]', "item 1 is no poem"),
        ('[{"paragraphs": ["一"]}]', "item 0 is no poem"),
        ('[{"paragraphs": "一", "title": "二"}]', "item 0 is no poem"),
    ],
)
def test_a_file_of_another_layout_is_named(tmp_path, content, message):
    (tmp_path / "poet.tang.0.json").write_text(content)
    with pytest.raises(UserError, match=message) as error:
        build_corpus(str(tmp_path), str(tmp_path / "poems"), AS_IS)
    assert "poet.tang.0.json" in str(error.value) and "\n" not in str(error.value)


def test_folders_without_poems_are_one_line(tmp_path):
    with pytest.raises(UserError, match="is no folder"):
        build_corpus(str(tmp_path / "none"), str(tmp_path / "poems"), AS_IS)
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(UserError, match=r"has no files poet\.\*\.json or ci\.\*\.json"):
        build_corpus(str(tmp_path), str(tmp_path / "poems"), AS_IS)
    write(tmp_path, [poem("長", *WULU, *WUJUE)])
    with pytest.raises(UserError, match="has no poem of a form that is known"):
        build_corpus(str(tmp_path), str(tmp_path / "poems"), AS_IS)


def test_a_folder_with_content_is_not_written_to(folder, tmp_path):
    with pytest.raises(UserError, match="is not empty"):
        build_corpus(str(folder), str(folder), AS_IS)
    with pytest.raises(UserError, match="is no corpus of poems; make one"):
        corpus.training_poems(str(folder))


@pytest.mark.parametrize("fields", [{"held_out": 1.0}, {"script": "simplifed"}])
def test_settings_are_checked(fields):
    with pytest.raises(UserError, match="--"):
        CorpusSettings(**fields)


def test_the_vocabulary_has_the_poems_characters_before_others(tmp_path):
    path = tmp_path / "vocab.txt"
    assert write_vocabulary(path, ["山山水水水", "月"], ["AA山人人人人"], 9) == 9
    assert lines(path)[5:] == ["水", "山", "人", "a"]
    assert write_vocabulary(path, ["山山水水水"], ["人人"], 7) == 7
    assert lines(path)[:2] == ["[PAD]", "[UNK]"]
