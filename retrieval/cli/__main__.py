"""`python -m retrieval.cli` is the command `commonspace`, where that is not on the path."""

from retrieval.cli import main

if __name__ == "__main__":
    main()
