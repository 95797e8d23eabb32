"""`python -m editfrontier`: the command line."""

from editfrontier.cli import main

main()
