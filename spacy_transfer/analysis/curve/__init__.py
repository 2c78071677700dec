"""What more annotated texts would bring."""
