"""Layers, on which every model family is built."""
