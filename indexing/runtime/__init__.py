"""Services for every part: checks of arguments, progress, safe text for terminals, threads."""
