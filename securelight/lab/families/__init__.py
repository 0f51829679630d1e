"""The families of cases, a file each, every one with CASES in the order of the list."""
