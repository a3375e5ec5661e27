"""Baselines, metrics and demonstrations of a trained model."""
