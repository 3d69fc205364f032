"""A contender that does as it is told, to test what the driver makes of it: python stub.py INPUTS OUTPUTS BEHAVIOUR.

It answers the protocol with a network that doubles its input. BEHAVIOUR: right, wrong (always), drifts (right after
loading, wrong from the second turn), dies (in the second turn), leaves (after the first), mute (no answer to a turn),
nan, nonsense.
"""

import json
import os
import sys
import time

import numpy as np

inputs_file, outputs_file, behaviour = sys.argv[1:]
x = np.fromfile(inputs_file, "<f4")
turns = 0
for line in sys.stdin:
    request, *numbers = line.split()
    turns += request == "run"
    y = 2 * x
    if behaviour == "wrong" or (behaviour == "drifts" and turns > 1):
        y = y + np.float32(0.01) * np.abs(y).max()
    if behaviour == "nan":
        y[0] = np.nan
    y.tofile(outputs_file)
    if request == "load":
        answer = {"rss_before_bytes": 1000, "rss_bytes": 1500, "load_peak_bytes": 1800, "session_bytes": 300}
    else:
        if behaviour == "dies" and turns > 1:
            print("out of luck", file=sys.stderr)
            sys.exit(7)
        if behaviour == "mute":
            time.sleep(60)
        warm_up_ns, burst_ns, least_runs, most_runs = map(int, numbers)
        base = 3000 if behaviour == "right" else 6000
        answer = {"samples_ns": [base + turns + i for i in range(least_runs)], "run_peak_bytes": 1700}
        answer |= {"cpus": sorted(os.sched_getaffinity(0))} if behaviour == "nonsense" else {}
    print(json.dumps(answer), flush=True)
    if behaviour == "leaves" and turns == 1:
        sys.exit(0)
