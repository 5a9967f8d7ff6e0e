"""Python imports this at its start: DIE_BEFORE=NAME kills the process when a file is about to get that name."""

import os

if "DIE_BEFORE" in os.environ:
    from faults import on_rename

    on_rename(os.environ["DIE_BEFORE"])
