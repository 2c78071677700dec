"""An encoder of one's own from nothing: its layers, its vocabulary, its tokenizer."""
