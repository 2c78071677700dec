"""Where rows are scored: in this process, or by workers of a Ray cluster."""
