"""The command line: `python -m aioapp`."""
import sys

from aioapp.cli.serve import main

if __name__ == "__main__":
    sys.exit(main())
