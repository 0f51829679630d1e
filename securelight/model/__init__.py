"""What every layer speaks of: requests, responses, limits and errors. Standard library only."""
