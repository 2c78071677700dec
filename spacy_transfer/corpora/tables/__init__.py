"""Files of rows in every format: decode, detect separators and columns, read and write records."""
