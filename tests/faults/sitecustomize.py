"""Python imports this at its start.

DIE_BEFORE=NAME kills the process, once, when a file is about to get that name. WAIT_BEFORE=NAME waits when that
happens for the second time, until it is told to go.
"""

import os
from functools import partial

if "DIE_BEFORE" in os.environ:
    import faults

    faults.before_rename(os.environ["DIE_BEFORE"], 1, partial(faults.die_once, os.environ["DIE_BEFORE"]))
if "WAIT_BEFORE" in os.environ:
    import faults

    faults.before_rename(os.environ["WAIT_BEFORE"], 2, faults.wait)
