"""The three operators written plainly in JAX, jitted, float32: what `npm run bench -- --only jax` compares XLA in the service with.

Formulas: Tensor-Consensus paper, Algorithm 1 (projection), equation 2 and Algorithm 2 (assignment, as scaling vectors), equation 3 (robust
consensus, medoid start, sigma renewed each iteration). Shapes: B problems, N agents, M tasks, d state width, k resource kinds. No masks,
no slack: every agent and task is active.

    python jax_operators.py              times typical sizes on random states and prints JSON
    python jax_operators.py serve        answers one JSON command a line on standard input, for the benchmark

Needs jax and numpy.
"""
import json
import math
import statistics
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

LEAST_RUNS = 3
BISECTION_STEPS = 30


def project(states, weight, bias, r_max):
    """[N,d], [d,k], [k], [k] -> resources [N,k]."""
    centred = states - states.mean(-1, keepdims=True)
    normal = centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return jax.nn.softmax((normal @ weight + bias) / math.sqrt(states.shape[1])) * r_max


def utility(agents, tasks, bilinear):
    """[N,e], [M,e], [e,e] -> [N,M]."""
    return agents @ bilinear @ tasks.T / math.sqrt(agents.shape[1])


def sinkhorn(u, temperature, iterations):
    """[N,M] -> plan [N,M], largest row and column error. Rows sum to 1, columns to N/M."""
    agents, tasks = u.shape
    kernel = jnp.exp((u - u.max(1, keepdims=True)) / temperature)
    mass = agents / tasks

    def step(_, scales):
        rows = 1.0 / (kernel @ scales[1])
        return rows, mass / (rows @ kernel)

    rows, columns = lax.fori_loop(0, iterations, step, (jnp.ones(agents), jnp.ones(tasks)))
    plan = rows[:, None] * kernel * columns
    return plan, jnp.abs(plan.sum(1) - 1).max(), jnp.abs(plan.sum(0) - mass).max()


def sorted_median(values):
    return jnp.median(values, axis=-1)


def bisected_median(values):
    """Of non-negative values along the last axis: halves a bracket on their square roots, for each of the two middle ranks."""
    roots = jnp.sqrt(values)
    count = values.shape[-1]
    top = roots.max(-1)

    def find(rank):
        def halve(step, low):
            middle = low + top * 0.5 ** (step + 1.0)
            below = (roots <= middle[..., None]).sum(-1)
            return jnp.where(below <= rank, middle, low)

        low = lax.fori_loop(0, BISECTION_STEPS, halve, jnp.zeros_like(top))
        return (low + top * 0.5 ** (BISECTION_STEPS + 1)) ** 2

    lower, upper = (count - 1) // 2, count // 2
    return find(lower) if lower == upper else (find(lower) + find(upper)) / 2


MEDIANS = {"sort": sorted_median, "bisection": bisected_median}


def chi2_quantile(d, z):
    return d * (1.0 - 2.0 / (9.0 * d) + z * math.sqrt(2.0 / (9.0 * d))) ** 3


def sigma_factor(d, efficiency=0.95):
    t = math.sqrt(1.0 - efficiency ** (2.0 / (d + 2)))
    return math.sqrt((1.0 - t) / t)


def consensus(x, median, iterations=10):
    """[N,d] -> centroid [d], weights [N], kernel [N], flags [N], scale, effective count, last step."""
    count, d = x.shape
    factor = sigma_factor(d) ** 2

    def distances(c):
        return ((x - c) ** 2).sum(-1)

    candidates = x[np.floor(np.arange(16) * count / 16).astype(int)]
    spread = ((x[None, :, :] - candidates[:, None, :]) ** 2).sum(-1)
    start = candidates[jnp.argmin(median(spread))]

    def exponents(c):
        d2 = distances(c)
        variance = median(d2) / chi2_quantile(d, 0.0)
        return d2, variance, -d2 / (2 * jnp.maximum(factor * variance, 1e-30))

    def step(_, state):
        c, _ = state
        weights = jax.nn.softmax(exponents(c)[2])
        return weights @ x, c

    c, previous = lax.fori_loop(0, iterations, step, (start, start))
    d2, variance, z = exponents(c)
    weights = jax.nn.softmax(z)
    flags = (d2 > jnp.maximum(variance, 1e-30) * chi2_quantile(d, 3.0902)).astype(jnp.float32)
    return c, weights, jnp.exp(z), flags, jnp.sqrt(variance), 1 / (weights**2).sum(), jnp.abs(c - previous).max()


CONSENSUS_OUTPUTS = ["centroid", "weights", "kernel", "flags", "scale", "effective_count", "last_step"]


def operators(case, median, temperature, iterations, top_k):
    """A function of one problem, the names of its arguments (which vmap spreads the first `batched` of) and of its results.

    `case` lists what is computed, of: projection, consensus, plan, top_k, utility.
    """
    wants = set(case)
    needs_tasks = bool(wants & {"plan", "top_k", "utility"})
    batched = ["agents"] + (["tasks"] if needs_tasks else []) + (["resource_max"] if "projection" in wants else [])
    shared = (["projection_weight", "projection_bias"] if "projection" in wants else []) + (["bilinear"] if needs_tasks else [])
    arguments = batched + shared
    outputs = []
    if "projection" in wants:
        outputs.append("resources")
    if "utility" in wants:
        outputs.append("utility_out")
    if "plan" in wants:
        outputs.append("plan")
    if "top_k" in wants:
        outputs += ["top_k_tasks", "top_k_mass"]
    if wants & {"plan", "top_k"}:
        outputs += ["row_error", "column_error"]
    if "consensus" in wants:
        outputs += CONSENSUS_OUTPUTS

    def one(*values):
        given = dict(zip(arguments, values))
        results = []
        if "projection" in wants:
            results.append(project(given["agents"], given["projection_weight"], given["projection_bias"], given["resource_max"]))
        if needs_tasks:
            u = utility(given["agents"], given["tasks"], given["bilinear"])
            if "utility" in wants:
                results.append(u)
            if wants & {"plan", "top_k"}:
                plan, row_error, column_error = sinkhorn(u, temperature, iterations)
                if "plan" in wants:
                    results.append(plan)
                if "top_k" in wants:
                    mass, tasks = lax.top_k(plan, top_k)
                    results += [tasks.astype(jnp.int32), mass]
                results += [row_error, column_error]
        if "consensus" in wants:
            results += consensus(given["agents"], MEDIANS[median])
        return tuple(results)

    axes = tuple(0 if name in batched else None for name in arguments)
    return jax.jit(jax.vmap(one, in_axes=axes)), arguments, outputs


class Program:
    """A jitted function with its arguments on the device."""

    def __init__(self, command, arrays):
        function, self.arguments, self.outputs = operators(
            command["case"], command["median"], command["temperature"], command["iterations"], command["top_k"]
        )
        self.host = [arrays[name] for name in self.arguments]
        lowered = function.lower(*self.host)
        self.text = lowered.as_text()
        started = time.perf_counter()
        self.function = lowered.compile()
        self.compile_ms = (time.perf_counter() - started) * 1e3
        self.resident = [jax.device_put(array) for array in self.host]
        jax.block_until_ready(self.resident)

    def execute(self):
        jax.block_until_ready(self.function(*self.resident))

    def run(self):
        """From NumPy arrays to NumPy arrays; the weights stay on the device."""
        given = [host if host.ndim > 2 else resident for host, resident in zip(self.host, self.resident)]
        return [np.asarray(result) for result in self.function(*given)]

    def turn(self, turn_ms):
        """Medians over about `turn_ms` for each: one execution, one run; and how many cores an execution kept busy."""
        cpu, wall = time.process_time(), time.perf_counter()
        execute_ms = timed(self.execute, turn_ms)
        cores = (time.process_time() - cpu) / (time.perf_counter() - wall)
        return {"executeMs": execute_ms, "runMs": timed(self.run, turn_ms), "cores": cores}


def timed(function, turn_ms):
    times = []
    end = time.perf_counter() + turn_ms / 1e3
    while len(times) < LEAST_RUNS or time.perf_counter() < end:
        started = time.perf_counter()
        function()
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times)


def serve():
    """`load` makes a program out of arrays in files and writes its results beside them; `turn` times one; both by id."""
    programs = {}
    print(json.dumps({"jax": jax.__version__, "device": jax.devices()[0].device_kind}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "load":
            folder = Path(command["folder"])
            arrays = {
                name: np.fromfile(folder / f"{name}.in", np.float32).reshape(shape) for name, shape in command["shapes"].items()
            }
            program = Program(command, arrays)
            programs[command["id"]] = program
            for name, result in zip(program.outputs, program.run()):
                np.ascontiguousarray(result).tofile(folder / f"{name}.out")
            (folder / "program.mlir").write_text(program.text)
            answer = {"compileMs": program.compile_ms, "arguments": program.arguments, "outputs": program.outputs}
        elif command["do"] == "turn":
            answer = programs[command["id"]].turn(command["turnMs"])
        else:
            programs.pop(command["id"])
            answer = {}
        print(json.dumps(answer), flush=True)


def main():
    rng = np.random.default_rng(1)
    rows = []
    for batch, count in [(1, 128), (32, 128), (1, 1024)]:
        normal = lambda *shape: rng.normal(size=shape).astype(np.float32)
        arrays = {
            "agents": normal(batch, count, 64),
            "tasks": normal(batch, count, 64),
            "resource_max": np.ones((batch, 8), np.float32),
            "projection_weight": normal(64, 8) / 8,
            "projection_bias": np.zeros(8, np.float32),
            "bilinear": normal(64, 64) / 8,
        }
        for case in (["consensus"], ["plan"], ["projection", "top_k", "consensus"], ["projection", "utility", "consensus"]):
            for median in MEDIANS if "consensus" in case else ["sort"]:
                command = {"case": case, "median": median, "temperature": 1.0, "iterations": 10, "top_k": 8}
                rows.append({"batch": batch, "count": count, "case": case, "median": median, **Program(command, arrays).turn(300)})
    print(json.dumps({"jax": jax.__version__, "device": jax.devices()[0].device_kind, "rows": rows}, indent=1))


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    elif not sys.argv[1:]:
        main()
    else:
        sys.exit(__doc__)
