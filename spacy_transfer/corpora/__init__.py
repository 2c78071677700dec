"""What training reads: records become corpora, and corpora are checked before they cost time."""
