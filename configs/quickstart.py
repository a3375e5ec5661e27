"""A small BERT on the documentation that is on this machine; no set-up, no download.

  python -m plmjax.main --config=configs/quickstart.py

BERT's pretraining as published, masked words and next sentences, at the size of `plmjax.demo`, with
twice the masks until the last phase. --print_config shows every setting.
"""

from plmjax.demo import more_masks_first, small
from plmjax.experiment import default_config


def get_config():
    return more_masks_first(small(default_config("bert", "tiny")))
