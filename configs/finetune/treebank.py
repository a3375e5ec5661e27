"""What a treebank of Universal Dependencies says of words: parts of speech, or where words begin.

  python -m plmjax.main --config=configs/finetune/treebank.py:pos,init_from=RUN \
      --config.task.train=en_ewt-ud-train.conllu --config.task.dev=en_ewt-ud-dev.conllu
  python -m plmjax.main --config=configs/finetune/treebank.py:segmentation,init_from=RUN \
      --config.task.train=zh_gsdsimp-ud-train.conllu --config.task.dev=zh_gsdsimp-ud-dev.conllu

The argument is what is told, pos or segmentation, and the workdir of a run; with fresh=true the
backbone begins anew. `pos` tags each word (--config.task.label=xpos has the treebank's own tags).
`segmentation` tags each character of Chinese with B, M, E or S and is measured by the F1 of words;
--config.task.format=segmented reads files with blanks between words, as SIGHAN's bakeoffs have.

No settings are published with BERT: these are run_classifier.py's.
"""

from plmjax.errors import UserError
from plmjax.finetuning import tuned_config
from plmjax.settings import choose, parse_argument

TOLD = {
    "pos": {"label": "upos", "format": "conllu", "metric": "token_accuracy"},
    "segmentation": {"format": "conllu_characters", "metric": "tagged_segmentation_f1"},
}


def get_config(argument=None):
    given = parse_argument(argument, "told", told="", init_from="", fresh=False)
    if not given.told:
        raise UserError(f"the config needs one of {', '.join(TOLD)}, and init_from=RUN")
    fields = choose(given.told, TOLD, "what is told")
    return tuned_config(given.init_from, "tagging", given.fresh, **fields)
