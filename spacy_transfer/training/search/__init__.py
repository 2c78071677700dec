"""Many runs: seeds, sweeps, trials, and the average of their weights."""
