"""A proposer for tests: tries what people published, and else changes a script so that nothing changes.

With a number of seconds as its argument the runs of such a script take so much longer without a processor: time of
research, of which a part is earned for reruns, that costs a test no computing. For the same reason the script that the
project comes with trains for a fiftieth of its budget only.
"""

import json
import random
import re
import sys

WHOLE, PART = "while left_s > step_s:", "while left_s > max(step_s, 0.98 * whole_s):"

context = json.load(sys.stdin)
source = context["parent"]["source"].replace(WHOLE, PART)
idea = next((one for one in context["ideas"] if one["source"]), None)
if idea is not None and not context["complaint"]:
    answer = {"source": idea["source"], "hypothesis": idea["id"], "description": idea["text"]}
else:
    number = random.Random(f"{context['seed']} {context['complaint']}").randrange(10**9)
    rest = f"if __name__ == '__main__':\n    __import__('time').sleep({float(sys.argv[1])})\n"
    spared = re.sub(r"SPARE = \d+\n\Z", "", source).removesuffix(rest)
    answer = {"source": f"{spared}{rest}SPARE = {number}\n", "description": f"spare {number}"}
json.dump(answer, sys.stdout)
