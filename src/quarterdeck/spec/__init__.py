"""What a crew is: the declared files, as checked data. Nothing here runs anything."""
