"""Benchmarks of pieces that EchoingECG alone has."""
