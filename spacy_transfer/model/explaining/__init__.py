"""What each piece of a document adds to a logit."""
