"""Baselines in the way released code of this field works, written for comparison: slow on purpose, equal in result."""
