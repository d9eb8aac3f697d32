/**
 * A worker that speaks the ONNX engine's protocol and runs the real session code, on hand-made models that double their
 * `utility`, and fails on demand. What to do is told by the first value of a run's `agent_mask`, or by the spec's
 * `parameters` when loading:
 * - run 101: throws outside any request; 102: ends the thread; 103: never answers and never yields
 * - load `refused`: a compiler error; `not-a-model`: bytes that the runtime refuses; `hang`: never answers
 */
import { parentPort, workerData } from 'node:worker_threads';
import { serveRequests } from '../../dist/src/engine/onnx-serve.js';

const hang = () => {
  for (;;);
};

parentPort.on('message', (request) => {
  if (request.kind === 'load' && request.spec.parameters === 'hang') hang();
  if (request.kind !== 'run') return;
  const order = request.inputs[0][0];
  if (order === 101) throw new Error('fault on demand');
  if (order === 102) process.exit(7);
  if (order === 103) hang();
});

serveRequests(parentPort, workerData, ({ spec, bucket }) => {
  if (spec.parameters === 'refused') throw new Error('primitive `frobnicate` has no rule');
  if (spec.parameters === 'not-a-model') return Uint8Array.of(1, 2, 3);
  return doublingModel(bucket, spec.parameters);
});

/** ONNX model: utility_out [B,N,M] = utility + utility; agent_mask [B,N] is taken and not used. */
function doublingModel({ batch, agents, tasks }, name) {
  const varint = (value) => (value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)]);
  const field = (number, bytes) => [...varint((number << 3) | 2), ...varint(bytes.length), ...bytes];
  const integer = (number, value) => [...varint(number << 3), ...varint(value)];
  const text = (number, value) => field(number, Buffer.from(value));
  const float32 = 1;
  const shape = (axes) =>
    field(
      2,
      axes.flatMap((axis) => field(1, integer(1, axis))),
    );
  const port = (number, portName, axes) =>
    field(number, [...text(1, portName), ...field(2, field(1, [...integer(1, float32), ...shape(axes)]))]);
  const node = field(1, [...text(1, 'utility'), ...text(1, 'utility'), ...text(2, 'utility_out'), ...text(4, 'Add')]);
  const graph = [
    ...node,
    ...text(2, `doubling ${name}`),
    ...port(11, 'agent_mask', [batch, agents]),
    ...port(11, 'utility', [batch, agents, tasks]),
    ...port(12, 'utility_out', [batch, agents, tasks]),
  ];
  return Uint8Array.from([...integer(1, 9), ...field(7, graph), ...field(8, [...text(1, ''), ...integer(2, 19)])]);
}
