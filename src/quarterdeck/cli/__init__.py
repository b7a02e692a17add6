"""The command line: one small file a command group, each importing its rooms only when it runs."""
