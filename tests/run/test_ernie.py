"""A few steps of configs/ernie.py:demo: its stages of masking, on Chinese with a dictionary."""

from tests.run import tiny, verb
from tests.run.test_demos import SMALL


def test_the_demo_goes_through_its_stages(tmp_path):
    text, names = tmp_path / "text.txt", tmp_path / "names.txt"
    tiny.write_chinese(text)
    names.write_text(tiny.in_chinese("river\nengine\nteacher"))
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
