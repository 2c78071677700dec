"""What a trained pipeline's scores are worth, mended: temperature, thresholds, texts of no known label."""
