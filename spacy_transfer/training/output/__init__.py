"""Everything a run writes and shows."""
