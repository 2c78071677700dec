"""Many runs: seeds, sweeps, studies, and their average."""
