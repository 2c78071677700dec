"""Static encoders: one vector per piece, whatever stands next to it."""
