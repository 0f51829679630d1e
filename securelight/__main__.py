"""`python -m securelight` is the `securelight` command."""

from securelight.cli.main import main

main()
