"""Published ways to fine-tune other than BERT's, by the name that `recipe=` gives in configs."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ml_collections import ConfigDict

from plmjax.data.plans import FRAMES
from plmjax.data.tokenizers import Tokenizer
from plmjax.errors import UserError
from plmjax.families import FAMILIES
from plmjax.train.optimizers import NORMS_AND_BIASES

Method = Callable[[ConfigDict, Tokenizer], None]
"""Sets a config of BERT's fine-tuning otherwise; is given the tokenizer of the run."""

ALIKE = ("glue/mrpc", "glue/qqp", "glue/stsb", "clue/afqmc")
"""Benchmarks of pairs that mean the same in both orders."""


def gpt(config: ConfigDict, tokenizer: Tokenizer) -> None:
    """openai/finetune-transformer-lm (Radford et al. 2018): texts between tokens of their own, the
    last of which the head reads, and half of the language model's loss.

    Batches of 32, 3 epochs, Adam at 6.25e-5 with a warm-up of 0.002 of the run and a linear decay
    that counts from its beginning; all but norms and biases decay by 0.01. Theirs has one mask of
    the head's dropout for all options of a question, here each has its own, and decays by the step
    size with Adam's bias correction in it, here by the learning rate.

    Raises:
      UserError: where the run is no decoder.
    """
    family, task = config.model.family, config.task
    if FAMILIES[family].objective != "causal_lm":
        raise UserError(
            f"recipe=gpt tunes decoders, and the run is of the family {family}; leave it out"
        )
    config.data.frame = "gpt1"
    known, needed = config.model.vocab_size, tokenizer.vocab_size + len(FRAMES["gpt1"].added)
    config.model.vocab_size = known and max(known, needed)
    if "lm_weight" in config.objective:
        config.objective.lm_weight = 0.5
    if task.name == "choice":
        task.question_with = "text"
    if task.benchmark in ALIKE:
        task.both_orders = True
    config.optimizer.name = "adamw"
    config.optimizer.exclude_from_decay = NORMS_AND_BIASES
    config.optimizer.eps = 1e-8
    config.optimizer.learning_rate = 6.25e-5
    config.optimizer.schedule = "electra"
    config.optimizer.warmup_fraction = 0.002


METHODS: Mapping[str, Method] = MappingProxyType({"gpt": gpt})
"""By name."""
