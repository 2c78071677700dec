"""What goes in and out: bodies, questions, answers, refusals."""
