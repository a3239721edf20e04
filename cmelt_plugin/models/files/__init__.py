"""Trained models on disk: checkpoints, exported folders, published weights, and what they say of themselves."""
