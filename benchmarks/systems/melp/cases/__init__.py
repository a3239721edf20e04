"""Benchmarks of pieces that MELP alone has."""
