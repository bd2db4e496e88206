"""What fits: one of batch, length, model and GPU is varied, all else stays as asked."""
