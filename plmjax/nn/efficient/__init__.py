"""Attention whose time and memory grow more slowly than the square of the length."""
