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


def ulmfit(config: ConfigDict, tokenizer: Tokenizer) -> None:
    """Howard & Ruder 2018 (ULMFiT), what of it is not of its LSTM: slanted triangles with a
    thirty-second of the rate at both ends, Adam with moments of 0.7 and 0.99, layers that join from
    the last on and have all joined after half of the run, lower ones slower, and the head reads
    the last state with the largest and the mean of all.

    Theirs divides the rate by 2.6 from each of three layers to the one below; here as much lies
    between the ends of the whole stack, 0.79 a layer of twelve. The peak, 0.01 for the LSTM, is
    that of BERT's recipe.
    """
    model = config.model
    layers = max(model.num_layers, model.get("num_decoder_layers", 0))
    config.optimizer.name = "adamw"
    config.optimizer.exclude_from_decay = NORMS_AND_BIASES
    config.optimizer.b1, config.optimizer.b2 = 0.7, 0.99
    config.optimizer.schedule = "slanted"
    config.optimizer.warmup_fraction = 0.1
    config.optimizer.final_fraction = 1 / 32
    config.transfer.layer_decay = 2.6 ** (-3 / layers)
    config.transfer.unfreeze = 0.5
    if config.objective.get("pooling") == "auto":
        config.objective.pooling = "concat"


METHODS: Mapping[str, Method] = MappingProxyType({"gpt": gpt, "ulmfit": ulmfit})
"""By name."""
