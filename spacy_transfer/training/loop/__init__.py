"""Steps, their order, learning rates, evaluations, and when to stop."""
