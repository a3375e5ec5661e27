"""T5 as published (Raffel et al. 2020): span corruption, 1M steps of 2,048 sequences of 512 tokens.

  python -m plmjax.prepare --out=STORE --tokenizer=t5 --vocab_size=32100 \
      --source='c4=jsonl:/data/*.json.gz'
  python -m plmjax.main --config=configs/t5.py:11b --config.corpus.store=STORE

The argument is a size: small, base, large, 3b, 11b, or one of version 1.1, v1.1-small to v1.1-xxl,
which is trained without dropout.

Published: 15 % of the tokens in spans of 3 on average, 512 tokens for the encoder (568 of text) and
114 for the decoder, SentencePiece of 32,000 with 100 sentinels, z-loss 1e-4, dropout 0.1
(text-to-text-transfer-transformer, tensorflow/mesh); 1M steps of 2,048 sequences of C4, on slices
of TPU v2 and v3 of up to 1,024 chips (the paper). The optimizer is Adafactor with a rate of
1/sqrt(step), of at most 0.01, without decay of weights or clipping of the gradient's norm. Where
several texts make a row nothing stands between them, as published for pretraining.

Meant for 64 chips, TPU v4:4x4x4: everything split over all chips, the batch in `accumulate` parts.
Their batches make 3b and 11b a matter of months there; on 512 chips (v4:8x8x8) add
--config.train.accumulate=4.
"""

from plmjax.data.batch_form import masking_config, plan_config
from plmjax.experiment import default_config
from plmjax.families import objective_config
from plmjax.settings import parse_argument

LARGE = ("3b", "11b", "v1.1-xl", "v1.1-xxl")


def get_config(argument=None):
    given = parse_argument(argument, "size", size="base")
    config = default_config("t5", given.size)
    config.model.vocab_size = 0  # the tokenizer's; its table has 32128 rows with the published one
    config.model.dtype = "bfloat16"
    # Nothing is rematerialised: libtpu 0.0.42 crashes on layers of 11B that are (SIGSEGV).
    config.model.remat = "none"
    config.objective = objective_config("seq2seq_lm", z_loss=1e-4)
    config.corpus.tokenizer = "t5"
    config.corpus.vocab_size = 32_100

    config.data.seq_len = 512
    config.data.batch_size = 2048
    config.data.frame = "none"
    config.data.plan = plan_config("blocks")
    config.data.masking = masking_config("span_corruption")

    config.optimizer.name = "adafactor"
    config.optimizer.learning_rate = 0.01
    config.optimizer.schedule = "rsqrt"
    config.optimizer.warmup_steps = 10_000
    config.optimizer.weight_decay = 0.0
    config.optimizer.clip_norm = 0.0

    config.train.steps = 1_000_000
    config.train.accumulate = 32 if given.size in LARGE else 8
    config.evaluation.every = 10_000
    config.checkpoint.every = 1_000
    config.mesh.data = 1
    config.mesh.fsdp = -1
    return config
