/**
 * A tick state as the opaque bytes of `warm_start`. Little-endian:
 *
 *   0  magic and version        4  CRC-32 of all that follows        8  which arrays are there (bits)
 *  12  N      16  M      20  r (width of the centroid)     24  iterations     28  avoided iterations, its ticks (16 bits each)
 *  32  marginal error    36  temperature    40  bytes of the kind    44  of the agent ids    48  of the task ids
 *  52  tasks of agents [N]; prices, potentials [M] each; centroid [r]; lengths of the agent ids [N] and task ids [M]; the texts
 *
 * Each array is there or not; 4 bytes an entry, reals in float32. The checksum finds what was cut or damaged; whoever
 * forges one gets a poor start and an answer that is as right as any.
 */
import { crc32 } from 'node:zlib';
import type { TickState } from './warm-start.js';

/** `TCW` and the version of this layout, read as a little-endian number. */
const magic = 0x01_57_43_54;
const headerBytes = 52;

/** A state that takes more is not sent, and more is not read. */
export const longestWarmStartBytes = 2 * 1024 * 1024;

/** Positions beyond this are refused in requests, too. */
const largestCoordinate = 1e15;

const none: Uint8Array = new Uint8Array(0);

/** Bits of the arrays that are there. */
const has = { agentIds: 1, taskIds: 2, taskOfAgent: 4, taskPrices: 8, columnPotential: 16, centroid: 32 } as const;
const allBits = 63;

/** Empty where it would take more than `longestWarmStartBytes`. */
export function encodeTickState(state: TickState): Uint8Array {
  const { agentIds, taskIds, taskOfAgent, taskPrices, columnPotential, centroid } = state;
  const kind = Buffer.from(state.kind, 'utf8');
  const agentTexts = agentIds === null ? none : Buffer.from(agentIds.join(''), 'utf8');
  const taskTexts = taskIds === null ? none : Buffer.from(taskIds.join(''), 'utf8');
  const arrays = [taskOfAgent, taskPrices, columnPotential, centroid, agentIds, taskIds];
  let textsAt = headerBytes;
  for (const array of arrays) if (array !== null) textsAt += 4 * array.length;
  const length = textsAt + kind.length + agentTexts.length + taskTexts.length;
  if (length > longestWarmStartBytes) return none;

  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, magic, true);
  view.setUint32(8, presentBits(state), true);
  view.setUint32(12, state.agentCount, true);
  view.setUint32(16, state.taskCount, true);
  view.setUint32(20, centroid?.length ?? 0, true);
  view.setUint32(24, state.iterations, true);
  view.setUint16(28, state.avoidance.iterations, true);
  view.setUint16(30, state.avoidance.ticks, true);
  view.setFloat32(32, state.marginalError, true);
  view.setFloat32(36, state.temperature, true);
  view.setUint32(40, kind.length, true);
  view.setUint32(44, agentTexts.length, true);
  view.setUint32(48, taskTexts.length, true);
  let at = headerBytes;
  if (taskOfAgent !== null) {
    new Int32Array(bytes.buffer, at, taskOfAgent.length).set(taskOfAgent);
    at += 4 * taskOfAgent.length;
  }
  for (const reals of [taskPrices, columnPotential, centroid]) {
    if (reals === null) continue;
    const written = new Float32Array(bytes.buffer, at, reals.length);
    written.set(reals);
    // An infinity, also one that float32 made, less itself is not a number.
    for (let j = 0; j < written.length; j++) if (written[j]! - written[j]! !== 0) written[j] = NaN;
    at += 4 * reals.length;
  }
  for (const ids of [agentIds, taskIds]) {
    if (ids === null) continue;
    for (let i = 0; i < ids.length; i++, at += 4) view.setUint32(at, ids[i]!.length, true);
  }
  bytes.set(kind, at);
  bytes.set(agentTexts, at + kind.length);
  bytes.set(taskTexts, at + kind.length + agentTexts.length);
  view.setUint32(4, crc32(bytes.subarray(8)), true);
  return bytes;
}

/** What `encodeTickState` was given, in float32; null where the bytes are anything else. Never throws. */
export function decodeTickState(bytes: Uint8Array): TickState | null {
  if (bytes.length < headerBytes || bytes.length > longestWarmStartBytes) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0, true) !== magic || view.getUint32(4, true) !== crc32(bytes.subarray(8))) return null;
  const present = view.getUint32(8, true);
  if ((present & ~allBits) !== 0) return null;
  const is = (bit: number) => (present & bit) !== 0;
  const [agentCount, taskCount, width] = [view.getUint32(12, true), view.getUint32(16, true), view.getUint32(20, true)];
  const [kindBytes, agentBytes, taskBytes] = [
    view.getUint32(40, true),
    view.getUint32(44, true),
    view.getUint32(48, true),
  ];
  const entries =
    agentCount * ((is(has.taskOfAgent) ? 1 : 0) + (is(has.agentIds) ? 1 : 0)) +
    taskCount * ((is(has.taskPrices) ? 1 : 0) + (is(has.columnPotential) ? 1 : 0) + (is(has.taskIds) ? 1 : 0)) +
    (is(has.centroid) ? width : 0);
  if (headerBytes + 4 * entries + kindBytes + agentBytes + taskBytes !== bytes.length) return null;

  let at = headerBytes;
  const take = (bit: number, count: number): number | null => {
    if (!is(bit)) return null;
    const from = at;
    at += 4 * count;
    return from;
  };
  const taskOfAgent = readTasks(view, take(has.taskOfAgent, agentCount), agentCount, taskCount);
  const prices = readReals(view, take(has.taskPrices, taskCount), taskCount);
  const columnPotential = readReals(view, take(has.columnPotential, taskCount), taskCount);
  const centroid = readReals(view, take(has.centroid, width), width);
  const agentLengthsAt = take(has.agentIds, agentCount);
  const taskLengthsAt = take(has.taskIds, taskCount);
  const text = (from: number, count: number) =>
    Buffer.from(bytes.buffer, bytes.byteOffset + from, count).toString('utf8');
  const agentIds = readIds(view, agentLengthsAt, agentCount, text(at + kindBytes, agentBytes));
  const taskIds = readIds(view, taskLengthsAt, taskCount, text(at + kindBytes + agentBytes, taskBytes));
  const [marginalError, temperature] = [view.getFloat32(32, true), view.getFloat32(36, true)];
  const isSound =
    taskOfAgent !== 'bad' &&
    prices !== 'bad' &&
    columnPotential !== 'bad' &&
    centroid !== 'bad' &&
    agentIds !== 'bad' &&
    taskIds !== 'bad' &&
    (prices === null || prices.every((price) => !(price < 0))) &&
    (centroid === null || centroid.every((x) => Math.abs(x) <= largestCoordinate)) &&
    marginalError >= 0 &&
    temperature >= 0 &&
    Math.max(marginalError, temperature) < Infinity;
  if (!isSound) return null;
  return {
    kind: text(at, kindBytes),
    agentCount,
    taskCount,
    agentIds,
    taskIds,
    taskOfAgent,
    taskPrices: prices === null ? null : Float64Array.from(prices),
    columnPotential,
    temperature,
    iterations: view.getUint32(24, true),
    marginalError,
    avoidance: { iterations: view.getUint16(28, true), ticks: view.getUint16(30, true) },
    centroid,
  };
}

function presentBits(state: TickState): number {
  let bits = 0;
  if (state.agentIds !== null) bits |= has.agentIds;
  if (state.taskIds !== null) bits |= has.taskIds;
  if (state.taskOfAgent !== null) bits |= has.taskOfAgent;
  if (state.taskPrices !== null) bits |= has.taskPrices;
  if (state.columnPotential !== null) bits |= has.columnPotential;
  if (state.centroid !== null) bits |= has.centroid;
  return bits;
}

function readTasks(view: DataView, at: number | null, count: number, taskCount: number): Int32Array | null | 'bad' {
  if (at === null) return null;
  const tasks = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const task = view.getInt32(at + 4 * i, true);
    if (task < -1 || task >= taskCount) return 'bad';
    tasks[i] = task;
  }
  return tasks;
}

/** Infinities are refused; NaN says that an entry is not known. */
function readReals(view: DataView, at: number | null, count: number): Float32Array | null | 'bad' {
  if (at === null) return null;
  const reals = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    const value = view.getFloat32(at + 4 * i, true);
    if (value === Infinity || value === -Infinity) return 'bad';
    reals[i] = value;
  }
  return reals;
}

/** `lengths` are in UTF-16 units, as strings count. */
function readIds(view: DataView, lengthsAt: number | null, count: number, text: string): string[] | null | 'bad' {
  if (lengthsAt === null) return text === '' ? null : 'bad';
  const ids: string[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    const end = at + view.getUint32(lengthsAt + 4 * i, true);
    if (end > text.length) return 'bad';
    ids.push(text.slice(at, end));
    at = end;
  }
  return at === text.length ? ids : 'bad';
}
