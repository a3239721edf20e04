"""Synthetic twelve-lead recordings with known findings, reports that agree with them, and the files to hold both."""
