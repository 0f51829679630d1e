"""What happens before the answer: each file is one feature."""
