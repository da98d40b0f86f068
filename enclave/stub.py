"""The first code inside a sandbox: gives up what bubblewrap could not, then becomes the program.

Run as a script (`python -I stub.py UID LIMITS_JSON PROGRAM ARGS…`), standard library only, any Python ≥ 3.10.
UID 0 means that the user namespace has already mapped us to an unprivileged user.
"""

import json
import os
import resource
import select
import sys


def main(argv):
    uid, limits = int(argv[0]), json.loads(argv[1])
    # bubblewrap ends us with the node, but not if the node died while it was still building the walls: then the
    # node's end of the channel is closed by now
    channel = select.poll()
    channel.register(int(argv[argv.index("--channel-fd") + 1]), select.POLLRDHUP)
    if channel.poll(0):
        sys.exit("the node is gone")
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, name), (value, value))
    if uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        # leaving uid 0 for good clears every capability; make sure that it really did
        try:
            os.setresuid(0, 0, 0)
        except PermissionError:
            pass
        else:
            sys.exit("the sandbox kept root")
    os.execv(argv[2], argv[2:])


main(sys.argv[1:])
