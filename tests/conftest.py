"""Makes tests repeatable: property tests draw the same examples everywhere, unless `make search` looks for new ones.

Nodes that tests start are alone, unless a test says otherwise, and never ask a router or the local network.
"""

import os

from hypothesis import settings

settings.register_profile("repeat", max_examples=200, derandomize=True, database=None, deadline=None)
settings.register_profile("search", max_examples=5000, deadline=None, print_blob=True)
settings.load_profile("repeat")

for name in ("SWARM", "SWARM_NAT", "SWARM_LAN"):
    os.environ[f"AUTORESEARCH_{name}"] = "off"
