"""`python -m editfrontier`: the command line."""

import sys

from editfrontier.running.warm import delegate

if (status := delegate(sys.argv)) is not None:
    sys.exit(status)

from editfrontier.cli import main

main()
