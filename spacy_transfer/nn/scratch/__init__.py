"""An encoder from scratch: its layers, vocabulary and tokenizer."""
