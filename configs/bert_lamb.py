"""BERT with LAMB at batches of 64k and 32k (You et al. 2020), as NVIDIA's published code runs it.

  python -m plmjax.main --config=configs/bert_lamb.py:large --config.corpus.store=STORE \
      --workdir=runs/lamb-1
  python -m plmjax.main --config=configs/bert_lamb.py:large,phase=2 --config.corpus.store=STORE \
      --workdir=runs/lamb-2 --config.init_from=runs/lamb-1

The two phases are runs of their own, since the second warms up anew from zero.

Published: batches of 65,536 of 128 tokens, then of 32,768 of 512, on 1,024 TPU v3 chips in 76
minutes, 8,599 steps in all (You et al., table 1). Learning rates 6e-3 and 4e-3, warm-up over
0.2843 and 0.128 of the steps, a decay by the square root, 7,038 and 1,563 steps, 80 slots for
targets at 512 (NVIDIA/DeepLearningExamples, PyTorch BERT, pretrain_config.sh), dropout 0.1,
weight decay 0.01 of all but norms and biases, which apex's FusedLAMB does not adapt either.
Left open: how You et al. divide their steps between the phases; NVIDIA's numbers, which are within
two steps of theirs, stand here. Ours: the second phase begins with fresh moments, where NVIDIA
hands them on; masks are drawn anew in each epoch.

Meant for 64 chips, TPU v4:4x4x4: data parallel, the batch in `accumulate` parts.
"""

from plmjax.data.batch_form import masking_config
from plmjax.errors import UserError
from plmjax.experiment import default_config
from plmjax.settings import parse_argument
from plmjax.train.optimizers import NORMS_AND_BIASES


def get_config(argument=None):
    given = parse_argument(argument, "size", size="large", phase=1)
    if given.phase not in (1, 2):
        raise UserError(f"the config's argument has phase={given.phase}; give phase=1 or phase=2")
    first = given.phase == 1
    config = default_config("bert", given.size)
    config.model.vocab_size = 0  # the tokenizer's; with the published vocab.txt 30522
    config.model.dtype = "bfloat16"
    config.corpus.vocab_size = 30522

    config.data.seq_len = 128 if first else 512
    config.data.batch_size = 65_536 if first else 32_768
    config.data.masking = masking_config("token")

    config.optimizer.name = "lamb"
    config.optimizer.exclude_from_decay = NORMS_AND_BIASES
    config.optimizer.exclude_from_trust = NORMS_AND_BIASES
    config.optimizer.learning_rate = 6e-3 if first else 4e-3
    config.optimizer.schedule = "bert"
    config.optimizer.power = 0.5
    config.optimizer.warmup_fraction = 0.2843 if first else 0.128
    config.optimizer.weight_decay = 0.01

    config.train.steps = 7038 if first else 1563
    config.train.accumulate = 16 if first else 64
    config.train.log_every = 10
    config.evaluation.every = 500
    config.checkpoint.every = 200
    return config
