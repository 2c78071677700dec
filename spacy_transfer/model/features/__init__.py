"""What is joined to a text beside its pieces: attributes, vectors, a tok2vec."""
