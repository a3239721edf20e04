"""EchoingECG's sizes, and benchmarks of its ECG tower and of its match loss."""
