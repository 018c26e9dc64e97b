"""`python -m perception` is the command `perception`."""

import sys

from perception.cli import main

sys.exit(main())
