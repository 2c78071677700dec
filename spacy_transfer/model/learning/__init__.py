"""How a step accumulates gradients, and how a head is initialized."""
