"""Who gives the answer: each file is one feature."""
