"""XNLI (Conneau et al. 2018): what follows from a sentence, in fifteen languages.

  python -m plmjax.main --config=configs/finetune/xnli.py:zh,init_from=RUN \
      --config.task.folder=XNLI --workdir=TUNED
  python -m plmjax.evaluate --model=TUNED --data=test_zh

The argument is a language: ar, bg, de, el, en, es, fr, hi, ru, sw, th, tr, ur, vi, zh; and the
workdir of a run. With fresh=true the backbone begins anew. The folder has multinli.train.zh.tsv,
xnli.dev.tsv and xnli.test.tsv. --data=test_sw measures on another language than was trained (zero
shot), --data=test on all of them at once.

Published for BERT (google-research/bert multilingual.md): batches of 32, 2 epochs at 5e-5, rows of
128 tokens.
"""

from plmjax.data.labelled.benchmarks import BENCHMARKS
from plmjax.recipes import Recipe, Tuning, benchmark_config

SPLITS = BENCHMARKS["xnli"].splits
LANGUAGES = [name.removeprefix("train_") for name in SPLITS if name.startswith("train_")]
BERT = Recipe(32, 5e-5, 2)


def get_config(argument=None):
    tasks = {
        name: Tuning("xnli", BERT, {"train": f"train_{name}", "dev": f"dev_{name}"})
        for name in LANGUAGES
    }
    return benchmark_config(argument, tasks)
