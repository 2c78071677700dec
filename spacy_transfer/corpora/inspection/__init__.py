"""What data looks like before training: checks, findings, duplicates, languages."""
