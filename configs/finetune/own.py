"""Fine-tunes a run on a file of your own: a label for each text, or for each pair of texts.

  python -m plmjax.main --config=configs/finetune/own.py:RUN --config.task.train=train.tsv \
      --config.task.dev=dev.tsv --config.task.text=sentence --config.task.label=label

The argument is the workdir of a run, pretrained here or imported from Hugging Face's files. With
task=multi_label or task=regression behind it labels are several of the classes, or numbers; with
fresh=true the backbone begins anew, for comparison. Second texts are named by config.task.pair.
With recipe=gpt a decoder is tuned as GPT-1 was: [start] text [delim] other [extract], and half of
the language model's loss; config.task.both_orders=True reads pairs in both orders. recipe=ulmfit
is slanted triangles, layers that join one after the other, and concatenated pooling.

With task=text_to_text a run that writes (T5, BART, GPT) is told the task in words and answers so:
--config.task.source='review: {sentence}' --config.task.target='{label}', where fields of the file
stand in braces; --config.task.answers=class or number where that is what is written, and for
translations and summaries --config.task.metric=bleu or rouge.
"""

from plmjax.finetuning import tuned_config
from plmjax.settings import parse_argument


def get_config(argument=None):
    known = {"init_from": "", "task": "classification", "fresh": False, "recipe": ""}
    given = parse_argument(argument, "init_from", **known)
    return tuned_config(given.init_from, given.task, given.fresh, given.recipe)
