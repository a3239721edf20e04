"""Pictures: plain functions from arrays to matplotlib figures, one kind a file."""
