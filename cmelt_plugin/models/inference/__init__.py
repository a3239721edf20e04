"""What a trained model says of recordings: embeddings, scores, calibrated answers, portable graphs."""
