"""MERL the way of its authors' release."""
