"""Everything needed to resume a run exactly."""
