"""A few steps of configs/bert_wwm.py:demo, on Chinese text whose words a segmenter finds."""

from tests.run import tiny, verb

SMALL = (
    "--config.train.steps=4",
    "--config.model.hidden_size=16",
    "--config.model.num_layers=1",
    "--config.model.mlp_size=32",
    "--config.model.dtype=float32",
    "--config.data.batch_size=4",
    "--config.corpus.vocab_size=300",
    "--config.corpus.held_out=0.2",
)


def test_the_demo_is_reported_beside_counting(tmp_path):
    text = tmp_path / "text.txt"
    tiny.write_text(text)
    letters = "天地人你我他日月山水火木金土春夏秋冬上下左右中大小不。"
    table = str.maketrans("abcdefghijklmnopqrstuvwxyz ", letters)
    text.write_text(text.read_text().lower().translate(table))
    done = verb.forked(
        "--config=configs/bert_wwm.py:demo",
        f"--workdir={tmp_path}/run",
        f"--config.corpus.source=text:{text}",
        f"--config.corpus.cache_dir={tmp_path}/cache",
        *SMALL,
    )
    assert done.code == 0, done.err
    for word in ("MLM accuracy", "NSP accuracy", "unigram", "bigram", "majority", "left out"):
        assert word in done.out
