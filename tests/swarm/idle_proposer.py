"""A proposer for tests: tries what people published, and else changes a script so that nothing changes."""

import json
import random
import re
import sys

context = json.load(sys.stdin)
source = context["parent"]["source"]
idea = next((one for one in context["ideas"] if one["source"]), None)
if idea is not None and not context["complaint"]:
    answer = {"source": idea["source"], "hypothesis": idea["id"], "description": idea["text"]}
else:
    number = random.Random(f"{context['seed']} {context['complaint']}").randrange(10**9)
    spared = re.sub(r"\nSPARE = \d+\n\Z", "\n", source)
    answer = {"source": f"{spared}SPARE = {number}\n", "description": f"spare {number}"}
json.dump(answer, sys.stdout)
