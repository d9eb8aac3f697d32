"""scipy's linear_sum_assignment on the matrices of `npm run bench -- --only exact`: answers one JSON command a line on standard input.

    {"file": PATH, "rows": N, "columns": M, "repeats": R}    float32, row-major, larger is better
        -> {"ms": the fastest of R solves, "objective": total of the pairs}

Needs numpy and scipy.
"""
import json
import sys
import time

import numpy as np
import scipy
from scipy.optimize import linear_sum_assignment


def solve(file, rows, columns, repeats):
    # scipy computes in float64: the conversion is not counted.
    utility = np.fromfile(file, np.float32).reshape(rows, columns).astype(np.float64)
    fastest = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        agents, tasks = linear_sum_assignment(utility, maximize=True)
        fastest = min(fastest, time.perf_counter() - started)
    return {"ms": fastest * 1e3, "objective": float(utility[agents, tasks].sum())}


def main():
    print(json.dumps({"scipy": scipy.__version__}), flush=True)
    for line in sys.stdin:
        print(json.dumps(solve(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
