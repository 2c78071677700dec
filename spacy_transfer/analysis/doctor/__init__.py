"""What is wrong with data: wrong labels, near-duplicates, labels that cannot be told apart."""
