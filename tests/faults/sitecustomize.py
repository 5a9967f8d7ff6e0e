"""Python imports this module when it starts.

DIE_BEFORE=NAME,NAME kills the process when a file is about to be renamed to one of these names, once for each name.
WAIT_BEFORE=NAME waits when that happens for the second time, until the file `go` exists.
"""

import os
from functools import partial

if "DIE_BEFORE" in os.environ:
    import faults

    for name in os.environ["DIE_BEFORE"].split(","):
        faults.before_rename(name, 1, partial(faults.die_once, name))
if "WAIT_BEFORE" in os.environ:
    import faults

    faults.before_rename(os.environ["WAIT_BEFORE"], 2, faults.wait)
