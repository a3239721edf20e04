"""What benchmarks need of single systems, a folder each."""
