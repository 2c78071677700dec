"""Extra inputs next to a text's pieces: attributes, static vectors, a tok2vec."""
