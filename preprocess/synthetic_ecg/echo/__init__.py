"""Ejection fractions and made-up echocardiograms that agree with the recordings."""
