"""Chinese sets beside CLUE's: ChnSentiCorp (reviews) and LCQMC (whether questions ask the same).

  python -m plmjax.main --config=configs/finetune/chinese.py:chnsenticorp,init_from=RUN \
      --config.task.folder=chnsenticorp --workdir=TUNED
  python -m plmjax.evaluate --model=TUNED --data=test --show=20

The argument is a set: chnsenticorp, lcqmc; and the workdir of a run. With fresh=true the backbone
begins anew. ChnSentiCorp as it is distributed has 335 texts of its development set in its training
set, too.

Epochs and batches are NEZHA's (Wei et al. 2019: 10 and 5 epochs, batches of 64 for the base model),
the learning rate that of BERT-wwm's authors (ymcui/Chinese-BERT-wwm, 2e-5 for both).
"""

from plmjax.recipes import Recipe, Tuning, benchmark_config

PUBLISHED = {
    "chnsenticorp": Tuning("chnsenticorp", Recipe(64, 2e-5, 10, 256)),
    "lcqmc": Tuning("lcqmc", Recipe(64, 2e-5, 5)),
}


def get_config(argument=None):
    return benchmark_config(argument, PUBLISHED)
