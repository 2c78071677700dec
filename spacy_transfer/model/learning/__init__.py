"""How a step gathers gradients, and what a head starts from."""
