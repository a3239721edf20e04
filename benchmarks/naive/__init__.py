"""Baselines in the way released code of this field works, written for comparison: equal in result."""
