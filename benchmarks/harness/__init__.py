"""What every benchmark uses: contestants in turn, memory and machine, result files and their tables."""
