"""A platform's module that ends the process that imports it, unless that is only `sys.exit`."""

import os
import sys

if os.environ.get("OUTBOARD_TEST_END") == "hard":
    os._exit(7)
sys.exit(3)
