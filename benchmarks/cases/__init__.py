"""The benchmarks, a file each, with a function ``run``; the first line of the docstring is the title."""
