"""The layer between Thinc and a torch network: settings, weights, state, one step."""
