"""What every part needs of the running process: checks of arguments, progress, threads, and no fork after a search."""
