"""Tools: typed Python functions, loaded by path. What may call them stands in `quarterdeck.governance`."""
