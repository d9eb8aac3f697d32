/**
 * Messages between `onnx-engine.ts` (the process's event loop) and `onnx-worker.ts` (its one worker thread).
 * Typed arrays are transferred: whoever posts a message gives their memory away. Requests are answered in order.
 */
import type { ParameterSignature, Bucket, ProgramSpec, TensorData } from '../operators/signature.js';
import type { KeptModel } from './onnx-model-cache.js';

export type ExecutionProvider = 'cpu' | 'cuda';

/** `workerData` of the worker. */
export interface WorkerSettings {
  /** Threads inside one operator; 1 means that the worker thread does all the work itself. */
  readonly intraOpThreads: number;
  /** In order of preference. What the installed runtime lacks is left out. */
  readonly executionProviders: readonly ExecutionProvider[];
  /** Shared memory of both threads, see `controlSlot`. */
  readonly control: Int32Array;
}

/**
 * A thread that is terminated while the runtime's native code is on its stack takes the whole process with it: the
 * binding cannot make its result objects any more and aborts (seen with onnxruntime-node 1.30). So the worker says
 * when it is in there, and is otherwise asked to leave by itself.
 */
export const controlSlot = {
  /** 1 while the worker is inside the runtime; written by the worker. */
  inRuntime: 0,
  /** 1 once nobody waits for answers; written by the event loop, followed by a `close` message. */
  closing: 1,
} as const;

export type WorkerRequest =
  | {
      readonly kind: 'load';
      readonly id: number;
      readonly program: number;
      readonly spec: ProgramSpec;
      readonly bucket: Bucket;
      readonly parameters: ReadonlyMap<ParameterSignature['name'], Float32Array>;
      /** As an earlier start optimised it; null: it is compiled. */
      readonly kept: KeptModel | null;
      /** A file to write the optimised model to; null: it is not wanted. What cannot be written is left out. */
      readonly scratch: string | null;
    }
  | { readonly kind: 'run'; readonly id: number; readonly program: number; readonly inputs: readonly TensorData[] }
  /** Not answered. */
  | { readonly kind: 'unload'; readonly program: number }
  /** Not answered: the worker ends. Requests before it that have not begun are dropped. */
  | { readonly kind: 'close' };

export type WorkerReply =
  /** The runtime is loaded; sent once, before any other. `device` as `Engine.device`. */
  | { readonly kind: 'ready'; readonly device: string }
  | {
      readonly kind: 'loaded';
      readonly id: number;
      readonly fingerprint: string;
      readonly residentBytes: number;
    }
  | {
      readonly kind: 'ran';
      readonly id: number;
      readonly outputs: readonly TensorData[];
      /** On the worker's own clock: when the request arrived, and when this reply left. */
      readonly receivedMs: number;
      readonly sentMs: number;
      readonly executeMs: number;
    }
  /** That request failed and nothing else did. */
  | {
      readonly kind: 'failed';
      readonly id: number;
      readonly code: 'COMPILE_FAILED' | 'INTERNAL';
      readonly message: string;
    };
