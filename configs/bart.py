"""BART as published (Lewis et al. 2020): denoising, 500k steps with batches of 8,000 sequences.

  python -m plmjax.prepare --out=STORE --tokenizer=roberta --source='web=text:/data/*.txt'
  python -m plmjax.main --config=configs/bart.py:large --config.corpus.store=STORE

The argument is a size, base or large.

Published: all sentences permuted and 30 % of the words infilled by spans of Poisson(3), 500k steps,
batches of 8,000, 160 GB of text (the paper, section 5.1); the permutation, the noise's code and the
vocabulary are fairseq's.
Left open by the paper: learning rate, warm-up, length, clipping. They are those of the command its
first author gave (facebookresearch/fairseq, issue 1899): 4e-4, 10,000 steps, 512 tokens, clipping
at 0.1, weight decay 0.01, a tenth of the spans shown as random tokens. The hardware is not known,
nor Adam's numbers, which are 0.9, 0.999 and 1e-6 here. That command has spans of Poisson(3.5);
3 is here. The paper turns dropout off for the last tenth of the steps: continue the run with
--config.init_from and dropout 0 for that.

Meant for 64 chips, TPU v4:4x4x4: data parallel, the batch in `accumulate` parts.
"""

from plmjax.data.batch_form import masking_config, plan_config
from plmjax.experiment import default_config
from plmjax.settings import parse_argument


def get_config(argument=None):
    given = parse_argument(argument, "size", size="base")
    config = default_config("bart", given.size)
    config.model.vocab_size = 0  # the tokenizer's
    config.model.dtype = "bfloat16"
    config.corpus.tokenizer = "roberta"
    config.corpus.vocab_size = 50_265

    config.data.seq_len = 512
    config.data.batch_size = 8000
    config.data.frame = "roberta"
    config.data.plan = plan_config("doc_sentences")
    config.data.masking = masking_config("denoising")

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 4e-4
    config.optimizer.schedule = "linear"
    config.optimizer.warmup_steps = 10_000
    config.optimizer.weight_decay = 0.01
    config.optimizer.clip_norm = 0.1

    config.train.steps = 500_000
    config.train.accumulate = 25
    config.evaluation.every = 10_000
    config.checkpoint.every = 1_000
    return config
