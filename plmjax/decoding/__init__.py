"""Text from models: sampling, beam search, and the loop that keeps keys and values."""
