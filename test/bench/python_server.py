"""A Python server to compare with: grpc.aio, JAX jit, dynamic batching in buckets 1, 2, 4 to 32. Answers this service's Coordinate.

It computes the paper's plain forms (Sinkhorn on exp(U/T) itself, consensus from the mean with a fixed sigma), checks nothing, and answers the
resources, the best task of each agent by argmax, and the consensus. As a good server does: no waiting while idle, one batch
executes on a thread while the next gathers, programs compiled before the first call, one copy in and one out a batch.

    python python_server.py PROTO_FOLDER POLICY.safetensors AGENTS TASKS

serves that one size on a free port of 127.0.0.1 and prints {"address": "127.0.0.1:PORT"} when it is warm. Needs jax, numpy, grpcio and
grpcio-tools (which makes the messages from the .proto).
"""
import asyncio
import importlib
import json
import math
import struct
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import grpc
import jax
import jax.numpy as jnp
import numpy as np
from grpc_tools import protoc
from jax import lax

BUCKETS = [1, 2, 4, 8, 16, 32]
TEMPERATURE = 1.0
ITERATIONS = 10
PROTO = "tensorconsensus/v1/coordinator.proto"


def messages(proto_folder):
    """The Python module of the .proto, made by protoc."""
    folder = tempfile.mkdtemp(prefix="python-server-")
    if protoc.main(["protoc", f"-I{proto_folder}", f"--python_out={folder}", PROTO]) != 0:
        sys.exit(f"protoc refused {proto_folder}/{PROTO}")
    sys.path.insert(0, folder)
    return importlib.import_module("tensorconsensus.v1.coordinator_pb2")


def read_safetensors(path):
    """Name -> float32 array."""
    with open(path, "rb") as file:
        content = file.read()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    arrays = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        arrays[name] = np.frombuffer(content[begin:end], np.float32).reshape(entry["shape"])
    return arrays


def coordinate(weights):
    """The paper's three operators for a batch: agents [B,N,d], tasks [B,M,d] -> resources, best tasks, centroids, consensus weights."""
    w, b, r_max = (jnp.asarray(weights[f"projection.{name}"]) for name in ("weight", "bias", "resource_max"))
    bilinear = jnp.asarray(weights["assignment.bilinear"])

    def one(agents, tasks):
        d = agents.shape[1]
        centred = agents - agents.mean(-1, keepdims=True)
        normal = centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        resources = jax.nn.softmax((normal @ w + b) / math.sqrt(d)) * r_max

        plan = jnp.exp(agents @ bilinear @ tasks.T / math.sqrt(d) / TEMPERATURE)

        def normalise(_, p):
            p = p / (p.sum(1, keepdims=True) + 1e-8)
            return p / (p.sum(0, keepdims=True) + 1e-8)

        plan = lax.fori_loop(0, ITERATIONS, normalise, plan)

        def powers(c):
            return jnp.exp(-((agents - c) ** 2).sum(-1) / (2 * d))

        def step(_, c):
            p = powers(c)
            return p @ agents / (p.sum() + 1e-8)

        centroid = lax.fori_loop(0, ITERATIONS, step, agents.mean(0))
        power = powers(centroid)
        return resources, plan.argmax(-1).astype(jnp.int32), centroid, power / power.sum()

    return jax.jit(jax.vmap(one))


class Batcher:
    """Calls wait here while a batch executes; then as many as the largest bucket holds go together."""

    def __init__(self, function):
        self.function = function
        self.waiting = []
        self.busy = False
        self.thread = ThreadPoolExecutor(1)

    def submit(self, agents, tasks):
        future = asyncio.get_running_loop().create_future()
        self.waiting.append((agents, tasks, future))
        if not self.busy:
            self.busy = True
            asyncio.ensure_future(self.drain())
        return future

    async def drain(self):
        loop = asyncio.get_running_loop()
        while self.waiting:
            batch, self.waiting = self.waiting[: BUCKETS[-1]], self.waiting[BUCKETS[-1] :]
            try:
                results = await loop.run_in_executor(self.thread, self.execute, batch)
            except Exception as error:  # every caller of the batch is told
                for _, _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for slot, (_, _, future) in enumerate(batch):
                if not future.done():
                    future.set_result([result[slot] for result in results])
        self.busy = False

    def execute(self, batch):
        bucket = next(size for size in BUCKETS if size >= len(batch))
        agents = np.zeros((bucket, *batch[0][0].shape), np.float32)
        tasks = np.zeros((bucket, *batch[0][1].shape), np.float32)
        for slot, (a, t, _) in enumerate(batch):
            agents[slot] = a
            tasks[slot] = t
        return [np.asarray(result) for result in self.function(agents, tasks)]


def floats(tensor):
    return np.frombuffer(tensor.data, np.float32).reshape(tensor.shape)


def warm(function, agents, tasks, width):
    for bucket in BUCKETS:
        zeros = (np.zeros((bucket, agents, width), np.float32), np.zeros((bucket, tasks, width), np.float32))
        jax.block_until_ready(function(*zeros))


async def serve(proto_folder, policy, agents, tasks):
    pb = messages(proto_folder)
    weights = read_safetensors(policy)
    function = coordinate(weights)
    warm(function, agents, tasks, weights["assignment.bilinear"].shape[0])
    batcher = Batcher(function)

    async def answer(request, _context):
        resources, best, centroid, consensus = await batcher.submit(floats(request.agents), floats(request.tasks))
        reply = pb.CoordinateResponse()
        reply.resources.shape.extend(resources.shape)
        reply.resources.data = resources.tobytes()
        reply.assignment.task_of_agent.extend(best.tolist())
        reply.consensus.centroid.shape.extend(centroid.shape)
        reply.consensus.centroid.data = centroid.tobytes()
        reply.consensus.weights.shape.extend(consensus.shape)
        reply.consensus.weights.data = consensus.tobytes()
        return reply

    handler = grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=pb.CoordinateRequest.FromString,
        response_serializer=pb.CoordinateResponse.SerializeToString,
    )
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 * 1024 * 1024)])
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("tensorconsensus.v1.Coordinator", {"Coordinate": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"address": f"127.0.0.1:{port}"}), flush=True)
    # The parent holds the other end of standard input: when it dies, so does this.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(0)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    asyncio.run(serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
