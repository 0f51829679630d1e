"""One parser a file: SEEDS, and `fuzz(data)`, which raises only for a finding."""
