"""The commands of the command line: one function for each, in modules by the section of the help."""
