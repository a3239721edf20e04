"""Texts to train a language model on: a corpus folder, its token ids, and sequences made of them."""
