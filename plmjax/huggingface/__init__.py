"""Hugging Face's names and shapes, both ways."""
