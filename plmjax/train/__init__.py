"""The one train loop and what it needs."""
