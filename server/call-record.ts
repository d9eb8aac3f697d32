/** What is kept of a call that is traced, or told in the access log: the others leave nothing behind. */
import { randomBytes } from 'node:crypto';
import type { Answer, ExecutionReport, Problem } from '../src/problem.js';
import type { CallTrace } from '../src/tracing.js';
import type { TraceContext } from './trace-context.js';

/** Where a span is found. */
export interface SpanIdentity {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** 16 hexadecimal digits. */
  readonly spanId: string;
}

/** The span of a call; `src` hands it along to the batch, whose span is written into it. */
export class CallSpan implements CallTrace, SpanIdentity {
  readonly traceId: string;
  readonly spanId = newSpanId();
  /** Null: it begins a trace. */
  readonly parent: TraceContext | null;
  /** The caller of a stream: its ticks are in traces of their own, as a stream may last for days. */
  readonly streamCaller: TraceContext | null;
  /** What the call ran in, in order; several where it has several jobs or ran again. */
  readonly batches: SpanIdentity[] = [];

  constructor(caller: TraceContext | null, isTick: boolean) {
    this.parent = isTick ? null : caller;
    this.streamCaller = isTick ? caller : null;
    this.traceId = this.parent?.traceId ?? newTraceId();
  }
}

export class CallRecord {
  readonly method: string;
  readonly arrivedMs: number;
  /** Null: not traced. */
  readonly span: CallSpan | null;
  /** Whether the access log tells of it where it ends well. */
  readonly isLogged: boolean;
  requestId = '';
  /** '' where it names none. */
  tenant = '';
  decodeMs = 0;
  encodeMs = 0;
  /** Null until it is decoded. */
  policy: string | null = null;
  agents = 0;
  tasks = 0;
  /** Null until it is answered. */
  execution: ExecutionReport | null = null;
  /** Of the hard assignment; null where there is none. */
  solver: string | null = null;
  gap = 0;

  constructor(method: string, arrivedMs: number, span: CallSpan | null, isLogged: boolean) {
    this.method = method;
    this.arrivedMs = arrivedMs;
    this.span = span;
    this.isLogged = isLogged;
  }

  decoded(problem: Problem, decodeMs: number): void {
    this.decodeMs = decodeMs;
    this.policy = problem.policy.name;
    this.agents = problem.agentCount;
    this.tasks = problem.taskCount;
  }

  answered({ execution, assignment }: Answer, encodeMs: number): void {
    this.execution = execution;
    this.encodeMs = encodeMs;
    const hard = assignment?.hard ?? null;
    if (hard === null) return;
    this.solver = hard.solver;
    this.gap = hard.gap;
  }

  /** For the access log. */
  facts(): object {
    const { tenant, policy, agents, tasks, execution, solver } = this;
    return {
      ...(tenant === '' ? {} : { tenant }),
      ...(policy === null ? {} : { policy, agents, tasks }),
      ...(execution === null
        ? {}
        : { engine: execution.engine, bucket: execution.bucket, batchSize: execution.batchSize }),
      ...(solver === null ? {} : { solver }),
    };
  }
}

export function newTraceId(): string {
  return randomBytes(16).toString('hex');
}

export function newSpanId(): string {
  return randomBytes(8).toString('hex');
}
