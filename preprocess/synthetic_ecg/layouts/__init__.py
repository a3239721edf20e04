"""The same recordings in the file layouts of public data sets."""
