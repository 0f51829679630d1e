"""What happens after the answer: each file is one feature."""
