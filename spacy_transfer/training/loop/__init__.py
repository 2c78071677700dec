"""Steps, their order, their rates, evaluations, and when to stop."""
