"""XLNet as published (Yang et al. 2019): 500k steps with batches of 8,192 sequences of 512 tokens.

  python -m plmjax.prepare --out=STORE --tokenizer=xlnet --vocab_size=32000 \
      --source='web=text:/data/*.txt'
  python -m plmjax.main --config=configs/xlnet.py:large --config.corpus.store=STORE

The argument is a size, base or large.

Published: 85 of 512 tokens predicted in a random order, the first 256 and the last 256 each in an
order of their own, spans of 1 to 5 tokens with six times as many around them, SentencePiece of
32,000, cased (zihangdai/xlnet, README and data_utils.py); for large 500k steps of 8,192 sequences
with Adam and linear decay (the paper's section 3.1). The command of the README has 2,048 sequences.
Not verified, as others quote the paper's appendix: weight decay 0.01 and eps 1e-6, 40k steps of
warm-up to 4e-4, dropout 0.1.
Left open: the recipe of base, which was released without one; it is large's here.
Not here, as the data does not make it yet: memory across batches and rows that run backwards. The
original reads the corpus as long streams, 256 tokens a step, and each layer sees the 384 places
before; here no row goes on where one of the batch before has ended, and a run keeps no memory. Half
of its rows are reversed; here none is. Its rows are 256 tokens of the stream and two texts, the
second a random one half of the time; here they are one or two neighbouring segments of a document,
their ends marked and their types told apart as there.

Meant for 64 chips, TPU v4:4x4x4: data parallel, the batch in `accumulate` parts.
"""

from plmjax.data.batch_form import masking_config, plan_config
from plmjax.experiment import default_config
from plmjax.settings import parse_argument


def get_config(argument=None):
    given = parse_argument(argument, "size", size="base")
    config = default_config("xlnet", given.size)
    config.model.vocab_size = 0  # the tokenizer's
    config.model.dtype = "bfloat16"
    config.corpus.tokenizer = "xlnet"
    config.corpus.vocab_size = 32_000

    config.data.seq_len = 512
    config.data.batch_size = 8192
    config.data.frame = "xlnet"
    config.data.plan = plan_config("electra_segments", short_prob=0.0)
    config.data.masking = masking_config(
        "permutation", max_predictions=85, perm_size=256, reuse_len=256
    )

    config.optimizer.name = "adamw_google"
    config.optimizer.learning_rate = 4e-4
    config.optimizer.schedule = "linear"
    config.optimizer.warmup_steps = 40_000
    config.optimizer.weight_decay = 0.01

    config.train.steps = 500_000
    config.train.accumulate = 16
    config.evaluation.every = 10_000
    config.checkpoint.every = 1_000
    return config
