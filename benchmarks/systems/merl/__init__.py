"""MERL at the sizes of its authors' release."""
