"""Several processes that train one pipeline together."""
