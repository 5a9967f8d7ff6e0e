"""Python imports this module when it starts.

DIE_BEFORE=NAME kills the process, once, when a file is about to be renamed to NAME. WAIT_BEFORE=NAME waits when that
happens for the second time, until the file `go` exists.
"""

import os
from functools import partial

if "DIE_BEFORE" in os.environ:
    import faults

    faults.before_rename(os.environ["DIE_BEFORE"], 1, partial(faults.die_once, os.environ["DIE_BEFORE"]))
if "WAIT_BEFORE" in os.environ:
    import faults

    faults.before_rename(os.environ["WAIT_BEFORE"], 2, faults.wait)
