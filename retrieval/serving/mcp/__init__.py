"""Tools for assistants by the Model Context Protocol, over standard input and output and over HTTP."""
