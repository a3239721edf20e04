"""From reports, files of texts and PubMed to a corpus folder: what preprocess/text_corpus.py is made of."""
