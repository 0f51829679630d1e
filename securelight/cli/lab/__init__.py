"""The command `securelight lab` and its subcommands."""
