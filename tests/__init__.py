"""One test file for each file of the package, in the folder of the same name."""
