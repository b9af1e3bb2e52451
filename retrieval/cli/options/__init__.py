"""Options of the command line, each declared once: the commands take them as groups, which are dataclasses."""
