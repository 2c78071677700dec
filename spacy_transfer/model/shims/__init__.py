"""What stands between Thinc and a torch network: settings, weights, state, one step."""
