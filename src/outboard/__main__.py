"""`python -m outboard`: the same as the `outboard` command."""

import sys

from outboard.cli import main

sys.exit(main())
