"""A few steps of configs/ernie.py:demo: its stages of masking, on Chinese with a dictionary."""

from tests.run import tiny, verb
from tests.run.test_bert_wwm import SMALL

LETTERS = "天地人你我他日月山水火木金土春夏秋冬上下左右中大小不。"


def test_the_demo_goes_through_its_stages(tmp_path):
    text, names = tmp_path / "text.txt", tmp_path / "names.txt"
    tiny.write_text(text)
    table = str.maketrans("abcdefghijklmnopqrstuvwxyz ", LETTERS)
    text.write_text(text.read_text().lower().translate(table))
    names.write_text("\n".join(word.translate(table) for word in ("river", "engine", "teacher")))
    given = (
        "--config=configs/ernie.py:demo",
        f"--config.corpus.source=text:{text}",
        f"--config.corpus.entities={names}",
        f"--config.corpus.cache_dir={tmp_path}/cache",
        *SMALL,
        "--config.train.steps=8",
    )
    done = verb.forked(*given, f"--workdir={tmp_path}/run")
    assert done.code == 0, done.err
    for word in ("MLM accuracy", "NSP accuracy", "unigram", "bigram", "majority", "left out"):
        assert word in done.out
    missing = f"--config.corpus.entities={tmp_path}/none.txt"
    done = verb.forked(*given, f"--workdir={tmp_path}/other", missing)
    assert done.code != 0 and "there is no dictionary" in done.err, done.err
    assert len(done.err.strip().splitlines()) == 1, done.err
