"""A tokenizer in place of one that is not there yet: a plan needs no text."""

from plmjax.data.preparation import CorpusConfig, given_tokenizer
from plmjax.data.tokenizers import SPECIAL_TOKENS, Tokenizer, WordPiece

SENTINELS = 100
"""How many T5's vocabulary has."""

_ENDS = {"bos": "<s>", "eos": "</s>", "eod": "<eod>"}


class StandIn(WordPiece):
    """Has a token for all that any masking asks for."""

    @property
    def roles(self) -> dict[str, str]:
        """BERT's, and the ends of sequences and documents."""
        return {**super().roles, **_ENDS}


def stand_in(config: CorpusConfig) -> Tokenizer:
    """The tokenizer that is given, or else one of the size that is asked for.

    It has sentinels and ends as well, which one that is trained on the corpus may not have: a plan
    can be made before there is a store, and it is for training to refuse a tokenizer that lacks
    what the masking needs.

    Raises:
      UserError: where the store or the vocabulary that is named is not there.
    """
    given = given_tokenizer(config)
    if given is not None:
        return given
    fixed = (*SPECIAL_TOKENS, *_ENDS.values())
    room = max(0, config.vocab_size - len(fixed))
    sentinels = [f"<extra_id_{number}>" for number in range(min(SENTINELS, room))]
    words = [f"w{number}" for number in range(room - len(sentinels))]
    return StandIn((*fixed, *words, *sentinels))
