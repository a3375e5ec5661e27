"""GPT-3's way to evaluate: a task is told in the prompt, with no, one or some examples."""
