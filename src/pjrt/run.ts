/** One execution from host arrays to host arrays. */
import type { Clock } from '../clock.js';
import { PjrtBuffer } from './buffer.js';
import type { PjrtClient } from './client.js';
import type { PjrtDevice } from './device.js';
import type { PjrtLoadedExecutable } from './executable.js';
import { elementCount, newHostArray, type ElementType, type HostArray } from './host-array.js';

export interface HostTensor {
  /** Row-major. The run may read it until it settles; lent without a copy where it starts on `hostAlignmentBytes`. */
  readonly data: HostArray;
  readonly dims: readonly number[];
  /** What the array's own type says unless set; needed for `pred`. */
  readonly elementType?: ElementType;
}

export interface RunOptions {
  /** The client's first device unless set. Resident inputs must lie there. */
  readonly device?: PjrtDevice;
  /** Results go here, in order, instead of fresh arrays. */
  readonly into?: readonly HostArray[];
  /** For so long the event loop does not sleep until the execution ends (event.ts). Default 0. */
  readonly busyPollMs?: number;
}

export interface RunResult {
  /** In order of the program's results; the caller's. */
  readonly outputs: readonly HostArray[];
  /** Handing the inputs over; where the device copies meanwhile, the rest counts as execution. */
  readonly transferInMs: number;
  readonly executeMs: number;
  readonly transferOutMs: number;
  /** Null where the plugin has given back the memory of all inputs, else a promise for when it has; may reject with PjrtError. */
  readonly returning: Promise<unknown> | null;
}

/**
 * Runs a portable or one-device executable once; several runs may be in flight, of the same executable too. Buffers among `inputs` are resident
 * (weights, constants) and stay the caller's. Nothing is left on the device afterwards. Rejects with PjrtError.
 */
export async function runOnHostArrays(
  client: PjrtClient,
  executable: PjrtLoadedExecutable,
  inputs: readonly (HostTensor | PjrtBuffer)[],
  clock: Clock,
  options: RunOptions = {},
): Promise<RunResult> {
  const startMs = clock.nowMs();
  const { device = client.devices[0]! } = options;
  const owned: PjrtBuffer[] = [];
  try {
    const parameters = inputs.map((input) => {
      if (input instanceof PjrtBuffer) return input;
      const { data, dims, elementType } = input;
      const buffer = client.bufferFromHost(data, dims, {
        device,
        semantics: 'zero-copy',
        ...(elementType === undefined ? {} : { elementType }),
      });
      owned.push(buffer);
      return buffer;
    });
    const transferredMs = clock.nowMs();
    const pollUntilMs = transferredMs + (options.busyPollMs ?? 0);
    const execution = await executable.execute([parameters], device, () => clock.nowMs() < pollUntilMs);
    const results = execution.outputs[0]!;
    const lent = owned.slice();
    owned.push(...results);
    await execution.done;
    const executedMs = clock.nowMs();
    const outputs = results.map(
      ({ elementType, dims }, index) => options.into?.[index] ?? newHostArray(elementType, elementCount(dims)),
    );
    // All of them, also after one failed: until then they write to `outputs`, which may be the caller's.
    const copies = await Promise.allSettled(results.map((result, index) => result.copyToHost(outputs[index]!)));
    for (const copy of copies) if (copy.status === 'rejected') throw copy.reason as Error;
    for (const buffer of lent) {
      // A CPU's device reads nothing after the execution, but says so only a moment after its buffers are freed: half of them would be waited for.
      if (client.deviceMemoryIsHost) buffer.markRead();
      buffer.dispose();
    }
    const pending = lent.flatMap((buffer) => buffer.returning ?? []);
    const returning = pending.length === 0 ? null : Promise.all(pending);
    returning?.catch(() => undefined); // whoever waits for it meets the error, too
    return {
      returning,
      outputs,
      transferInMs: transferredMs - startMs,
      executeMs: executedMs - transferredMs,
      transferOutMs: clock.nowMs() - executedMs,
    };
  } finally {
    for (const buffer of owned) buffer.dispose();
  }
}
