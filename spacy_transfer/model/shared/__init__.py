"""An encoder owned by another component, and the classifier that listens to it."""
