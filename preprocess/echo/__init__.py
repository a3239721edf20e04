"""Echocardiograms: pairs with electrocardiograms, and what a teacher makes of videos."""
