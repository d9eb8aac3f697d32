/**
 * What a CoordinateRequest says that decides whether there is any point in reading it: a walk over its top-level fields, a microsecond whatever
 * its size. It checks nothing: what it cannot follow it takes for the default, and decoding says what is wrong.
 */
import type { Priority } from '../problem.js';

export interface RequestOutline {
  readonly requestId: string;
  /** '' where the request names none. */
  readonly policy: string;
  readonly priority: Priority;
  /** Whether a hard assignment is asked for; null: where the policy's forms say so. */
  readonly isHard: boolean | null;
}

/** Field numbers of coordinator.proto. */
const field = {
  requestId: 1,
  policy: 2,
  agents: 3,
  tasks: 4,
  utility: 5,
  responses: 6,
  operators: 11,
  assignment: 13,
  priority: 16,
} as const;
/** Of a Tensor. */
const shapeField = 2;
const formsField = 1;
const hardForm = 1;
const assignmentOperator = 2;
const priorities: readonly Priority[] = ['NORMAL', 'LOW', 'HIGH'];

const wireVarint = 0;
const wire64 = 1;
const wireBytes = 2;
const wire32 = 5;

export function outlineOf(message: Uint8Array): RequestOutline {
  const found = { requestId: '', policy: '', priority: 'NORMAL' as Priority, hasTasks: false };
  const operators: number[] = [];
  const forms: number[] = [];
  walk(message, 0, message.length, (number, value, start, end) => {
    if (number === field.requestId) found.requestId = textOf(message, start, end);
    else if (number === field.policy) found.policy = textOf(message, start, end);
    else if (number === field.tasks || number === field.utility) found.hasTasks = true;
    else if (number === field.priority) found.priority = priorities[value] ?? 'NORMAL';
    else if (number === field.operators) operators.push(...enumsOf(message, value, start, end));
    else if (number === field.assignment) {
      walk(message, start, end, (inner, form, from, to) => {
        if (inner === formsField) forms.push(...enumsOf(message, form, from, to));
      });
    }
  });
  const { requestId, policy, priority, hasTasks } = found;
  const assigns = hasTasks && (operators.length === 0 || operators.includes(assignmentOperator));
  const isHard = !assigns ? false : forms.length === 0 ? null : forms.includes(hardForm);
  return { requestId, policy, priority, isHard };
}

/**
 * N as the request's agents say it, or its utility or responses where there are no agents; 0 where none does. Decoding holds it to what the
 * tensors carry.
 */
export function agentCountOf(message: Uint8Array): number {
  let [agents, utility, responses] = [0, 0, 0];
  walk(message, 0, message.length, (number, _value, start, end) => {
    if (start === -1) return;
    if (number === field.agents) agents = firstDimensionOf(message, start, end);
    else if (number === field.utility) utility = firstDimensionOf(message, start, end);
    else if (number === field.responses) responses = firstDimensionOf(message, start, end);
  });
  return agents || utility || responses;
}

/** Of the Tensor that lies there. */
function firstDimensionOf(message: Uint8Array, from: number, to: number): number {
  let first = 0;
  walk(message, from, to, (number, value, start, end) => {
    if (number !== shapeField || first > 0) return;
    first = start === -1 ? value : varint(message, { at: start, to: end });
  });
  return Math.max(0, first);
}

/**
 * Whether every field ends within the message. protobufjs reads text that should go on beyond the end as if it ended there, so a message that was cut
 * short within its last text, of its own or of what it holds, would be taken for a whole one. What cannot be followed is left to it.
 */
export function isWhole(message: Uint8Array): boolean {
  const cursor: Cursor = { at: 0, to: message.length };
  while (cursor.at < cursor.to) {
    const tag = varint(message, cursor);
    const wire = tag % 8;
    if (wire === wire64) cursor.at += 8;
    else if (wire === wire32) cursor.at += 4;
    else if (wire === wireVarint || wire === wireBytes) {
      const value = varint(message, cursor);
      if (value < 0) return false;
      if (wire === wireBytes) cursor.at += value;
    } else return true;
  }
  return cursor.at === cursor.to;
}

/** `value` of a varint; `start` and `end` of what has a length, else both -1. Ends at the first thing that it cannot follow. */
type Visit = (number: number, value: number, start: number, end: number) => void;

function walk(bytes: Uint8Array, from: number, to: number, visit: Visit): void {
  const cursor: Cursor = { at: from, to };
  while (cursor.at < to) {
    const tag = varint(bytes, cursor);
    if (tag < 0) return;
    const number = Math.floor(tag / 8);
    const wire = tag % 8;
    if (wire === wire64) cursor.at += 8;
    else if (wire === wire32) cursor.at += 4;
    else if (wire === wireVarint || wire === wireBytes) {
      const value = varint(bytes, cursor);
      if (value < 0) return;
      if (wire === wireVarint) visit(number, value, -1, -1);
      else {
        const start = cursor.at;
        cursor.at += value;
        if (cursor.at > to) return;
        visit(number, 0, start, cursor.at);
      }
    } else return;
  }
}

interface Cursor {
  at: number;
  readonly to: number;
}

/** -1 where it does not end before the message does. Beyond 2^53 the value is not exact. */
function varint(bytes: Uint8Array, cursor: Cursor): number {
  let value = 0;
  for (let scale = 1; cursor.at < cursor.to; scale *= 128) {
    const byte = bytes[cursor.at++]!;
    value += (byte & 127) * scale;
    if (byte < 128) return value;
    if (scale > 2 ** 63) return -1;
  }
  return -1;
}

/** More than each of them once. */
const longestEnums = 16;

/** Of a repeated enum, packed or not. */
function enumsOf(bytes: Uint8Array, value: number, start: number, end: number): number[] {
  if (start === -1) return [value];
  const values: number[] = [];
  const cursor: Cursor = { at: start, to: Math.min(end, start + longestEnums) };
  while (cursor.at < cursor.to) {
    const next = varint(bytes, cursor);
    if (next < 0) break;
    values.push(next);
  }
  return values;
}

/** Longest text that is of use here. */
const longestText = 256;

function textOf(bytes: Uint8Array, start: number, end: number): string {
  if (start === -1) return '';
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, Math.min(end - start, longestText)).toString('utf8');
}
