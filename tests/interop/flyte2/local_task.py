"""A user's file for `flyte run --local`: one task of a type that an agent serves, and the bridge."""

import os

from interop.flyte2 import bridge
from interop.flyte2.world import job_task

bridge.connect(os.environ["OUTBOARD_ENDPOINT"])
counted = job_task("counted", running_s=0.2)
