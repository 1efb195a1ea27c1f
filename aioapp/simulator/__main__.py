"""The command line: `python -m aioapp.simulator`."""
import sys

from aioapp.simulator.server import main

if __name__ == "__main__":
    sys.exit(main())
