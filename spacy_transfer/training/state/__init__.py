"""Everything that makes a resumed run the same run."""
