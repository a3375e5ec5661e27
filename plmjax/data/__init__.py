"""From text to batches, on the host; no jax in here."""
