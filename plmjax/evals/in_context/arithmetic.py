"""GPT-3's ten arithmetic tasks, generated as its release has them.

Source: Brown et al. 2020, section 3.9.1; openai/gpt-3 data/*.jsonl, which also say what the paper
leaves open: operands are uniform from 0, problems come once, and in 1DC the first two numbers are
in brackets and no number is 0.
"""

import numpy as np

COUNT = 2000
"""Problems of a task."""

_DIGITS = {"2D+": 2, "2D-": 2, "3D+": 3, "3D-": 3, "4D+": 4, "4D-": 4, "5D+": 5, "5D-": 5, "2Dx": 2}
TASKS = (*_DIGITS, "1DC")
_WORDS = {"+": "plus", "-": "minus", "x": "times"}


def arithmetic(name: str, count: int, seed: int) -> list[dict[str, str]]:
    """Problems of one of TASKS, each with `context` and `completion`, no two alike.

    Args:
      name: of TASKS: 2D+ adds numbers of up to two digits, 2Dx multiplies them, 1DC has three
        numbers of one digit and two operations.
      count: how many.
      seed: of the draws.
    """
    random = np.random.default_rng([seed, TASKS.index(name)])
    found: dict[str, str] = {}
    while len(found) < count:
        question, answer = _composite(random) if name == "1DC" else _problem(random, name)
        found[f"\n\nQ: What is {question}?\n\nA:"] = f" {answer}"
    return [{"context": context, "completion": found[context]} for context in found]


def _problem(random: np.random.Generator, name: str) -> tuple[str, int]:
    a, b = random.integers(0, 10 ** _DIGITS[name], 2).tolist()
    operation = name[-1]
    return f"{a} {_WORDS[operation]} {b}", _result(a, operation, b)


def _composite(random: np.random.Generator) -> tuple[str, int]:
    a, b, c = random.integers(1, 10, 3).tolist()
    first, second = random.choice(["+", "-", "*"], 2).tolist()
    return f"({a} {first} {b}) {second} {c}", _result(_result(a, first, b), second, c)


def _result(a: int, operation: str, b: int) -> int:
    return {"+": a + b, "-": a - b, "*": a * b, "x": a * b}[operation]
