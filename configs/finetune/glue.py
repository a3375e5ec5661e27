"""GLUE (Wang et al. 2018): each of its nine tasks, from a pretrained run.

  python -m plmjax.main --config=configs/finetune/glue.py:sst2,init_from=RUN \
      --config.task.folder=glue_data/SST-2 --workdir=TUNED
  python -m plmjax.evaluate --model=TUNED --data=test --submission=SST-2.tsv

The argument is a task: cola, sst2, mrpc, qqp, stsb, mnli, qnli, rte, wnli; and the workdir of a
run, pretrained here or imported from Hugging Face's files. With fresh=true the backbone begins
anew. The folder has the files of gluebenchmark.com. The other half of MNLI's development set is
--config.task.dev=dev_mismatched, that of its test set --data=test_mismatched. A run on MNLI answers
the diagnostic set, which has no training set:

  python -m plmjax.evaluate --model=TUNED --benchmark=glue/ax --folder=glue_data/diagnostic \
      --data=test --submission=AX.tsv

Published for BERT: batches of 32, 3 epochs, the best of 5e-5, 4e-5, 3e-5 and 2e-5 by the
development set (Devlin et al. 2019, section 4.1); here 2e-5, and launch.sweep tries the others.
recipe=roberta has fairseq's settings of each task (examples/roberta/README.glue.md), with 10
epochs and rows of 512 tokens; recipe=electra those of ELECTRA-base (google-research/electra
configure_finetuning.py), whose large model has half the learning rate and a layer decay of 0.9.
Neither has an own one for WNLI.
"""

from plmjax.recipes import Recipe, benchmark_config, suite

TASKS = ("cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli")
BERT = suite("glue", dict.fromkeys(TASKS, Recipe()))


def roberta(rate, batch, warmup=0.06):
    return Recipe(batch, rate, 10, 512, warmup, weight_decay=0.1, b2=0.98)


def electra(epochs):
    return Recipe(32, 1e-4, epochs, layer_decay=0.8)


ROBERTA = {
    "cola": roberta(1e-5, 16),
    "sst2": roberta(1e-5, 32),
    "mrpc": roberta(1e-5, 16),
    "qqp": roberta(1e-5, 32, 0.25),
    "stsb": roberta(2e-5, 16),
    "mnli": roberta(1e-5, 32),
    "qnli": roberta(1e-5, 32),
    "rte": roberta(2e-5, 16),
}
ELECTRA = {name: electra(10 if name in ("rte", "stsb") else 3) for name in TASKS[:-1]}


def get_config(argument=None):
    others = {"roberta": suite("glue", ROBERTA), "electra": suite("glue", ELECTRA)}
    return benchmark_config(argument, BERT, others)
