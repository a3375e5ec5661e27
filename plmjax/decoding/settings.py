"""How text is made of a model's scores."""

import dataclasses

from plmjax.errors import UserError

TOP_P_RULES = ("huggingface", "gpt2")
"""Whether the token that crosses p is kept, as in Hugging Face's code, or not, as in GPT-2's."""

EARLY_STOPPING = ("estimate", "full", "never")
"""When a beam search ends: see `DecodingConfig`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodingConfig:
    """The way from scores to text. The defaults take the best token each time, 64 times.

    max_new_tokens, min_new_tokens: of a continuation, with the token that ends it. Until there are
      so many, no token ends it.
    sample: whether tokens are drawn; without, the best is taken. What follows, up to `seed`, needs
      it.
    temperature: scores are divided by it.
    top_k: how many tokens may be drawn, with those that tie with the last of them; 0 for all.
    top_p: the smallest number of tokens whose probabilities sum to more may be drawn; 1 for all.
      top_p_rule: one of TOP_P_RULES.
    typical_p: the tokens may be drawn whose information is closest to the entropy, until their
      probabilities sum to more (Meister et al. 2022); 1 for all.
    samples: how many continuations each prompt gets.
    seed: of the draws, in [0, 2^32). The same seed and prompt give the same text, whatever else is
      decoded beside it.
    repetition_penalty: scores of tokens that are in the prompt or behind it are divided by it where
      they are above 0 and multiplied where they are below (Keskar et al. 2019); 1 for none.
    taken_penalty: log-probabilities of tokens that have been taken already, the prompt not counted,
      are multiplied by it, but those of spared_tokens (Yuefu: 1000, and ， and 。); 1 for none.
    banned_tokens: tokens that are never taken.
    no_repeat_ngram: no so many tokens in a row come twice, the prompt counted; 0 for any.
    beams: how many texts a beam search keeps for each prompt; 1 for none.
    n_best: how many of them are returned.
    length_penalty: a text's score is the sum of its log-probabilities over its length to this
      power.
    early_stopping: whether a prompt's search ends when all its beams are texts that have ended
      (`full`); when the best that goes on, scored at its present length, is worse than the worst
      that has ended (`estimate`); or when it is worse at its best length (`never`). The names in
      transformers are True, False and "never".
    stop_tokens: tokens that end a text beside the model's own, such as that of a line's end.
    forced_begin: the first new token, where a model was trained with one (BART's); -1 for none.
    forced_end: the last one at max_new_tokens; -1 for none.
    logprobs: whether continuations have the log-probability of each token: the model's own, before
      any of the above.
    """

    max_new_tokens: int = 64
    min_new_tokens: int = 0
    sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    top_p_rule: str = "huggingface"
    typical_p: float = 1.0
    samples: int = 1
    seed: int = 0
    repetition_penalty: float = 1.0
    taken_penalty: float = 1.0
    spared_tokens: tuple[int, ...] = ()
    banned_tokens: tuple[int, ...] = ()
    no_repeat_ngram: int = 0
    beams: int = 1
    n_best: int = 1
    length_penalty: float = 1.0
    early_stopping: str = "estimate"
    stop_tokens: tuple[int, ...] = ()
    forced_begin: int = -1
    forced_end: int = -1
    logprobs: bool = False

    def __post_init__(self):
        self._check_ranges()
        for name, choices in (("top_p_rule", TOP_P_RULES), ("early_stopping", EARLY_STOPPING)):
            if getattr(self, name) not in choices:
                raise UserError(
                    f"{name}='{getattr(self, name)}' is unknown; give {' or '.join(choices)}"
                )
        if self.min_new_tokens > self.max_new_tokens:
            raise UserError(
                f"min_new_tokens={self.min_new_tokens} is more than max_new_tokens="
                f"{self.max_new_tokens}; give less"
            )
        self._check_sampling()
        self._check_beams()

    def _check_ranges(self) -> None:
        ranges = {
            "max_new_tokens": (self.max_new_tokens >= 1, "1 or more"),
            "min_new_tokens": (self.min_new_tokens >= 0, "0 or more"),
            "temperature": (self.temperature > 0, "more than 0, or sample=False for the best"),
            "top_k": (self.top_k >= 0, "0 for all tokens, or how many may be drawn"),
            "top_p": (0 < self.top_p <= 1, "more than 0 and at most 1"),
            "typical_p": (0 < self.typical_p <= 1, "more than 0 and at most 1"),
            "samples": (self.samples >= 1, "1 or more"),
            "seed": (0 <= self.seed < 2**32, "0 or more, and less than 2^32"),
            "repetition_penalty": (self.repetition_penalty > 0, "more than 0; 1 for none"),
            "taken_penalty": (self.taken_penalty >= 1, "1 for none, or more"),
            "no_repeat_ngram": (self.no_repeat_ngram >= 0, "0 for any, or 1 or more"),
            "beams": (self.beams >= 1, "1 or more"),
            "n_best": (self.n_best >= 1, "1 or more"),
        }
        for name, (is_good, expected) in ranges.items():
            if not is_good:
                raise UserError(f"{name}={getattr(self, name)} is out of range; give {expected}")

    def _check_sampling(self) -> None:
        """Options that would do nothing are mistakes."""
        given = self._given("temperature", "top_k", "top_p", "top_p_rule", "typical_p", "samples")
        if self.beams > 1 and (self.sample or given):
            what = given or "sample=True"
            raise UserError(
                f"beams={self.beams} with {what}: a beam search does not draw; leave one of them"
                " out, or ask for several texts by n_best"
            )
        if given and not self.sample:
            raise UserError(f"{given} does nothing with sample=False; set sample=True")

    def _check_beams(self) -> None:
        given = self._given("n_best", "length_penalty", "early_stopping")
        if given and self.beams == 1:
            hint = "; for several draws give samples" if self.n_best > 1 else ""
            raise UserError(f"{given} does nothing with beams=1; give more beams{hint}")
        if self.n_best > self.beams:
            raise UserError(
                f"n_best={self.n_best} is more than beams={self.beams}; give as many beams"
            )

    def _given(self, *names: str) -> str:
        """The first of these fields that is not as its default, with its value; or nothing."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        changed = [name for name in names if getattr(self, name) != defaults[name]]
        return f"{changed[0]}={getattr(self, changed[0])}" if changed else ""


GPT3_FREE_FORM = {"beams": 4, "length_penalty": 0.6}
"""GPT-3's way to answer in free form (Brown et al. 2020, section 2.4)."""
