"""MERL: an ECG tower and a frozen text tower, aligned by a contrastive loss (Liu et al. 2024, ICML)."""
