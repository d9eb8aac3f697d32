/**
 * One problem over several devices: each has an equal share of the agents, as `lowerToStableHlo` with `partitions` cuts them, and XLA's
 * partitioner exchanges what the shares need of each other. Only for a batch of one, where a share is one stretch of memory.
 */
import type { Clock } from '../clock.js';
import { shapeIn, type Bucket, type Signature, type TensorData, type TensorSignature } from '../operators/signature.js';
import type { PjrtBuffer } from '../pjrt/buffer.js';
import type { PjrtClient } from '../pjrt/client.js';
import type { PjrtDevice } from '../pjrt/device.js';
import type { PjrtLoadedExecutable } from '../pjrt/executable.js';
import { elementCount, type HostArray } from '../pjrt/host-array.js';
import type { RunResult } from './engine.js';

export interface Shard {
  readonly device: PjrtDevice;
  /** Whole on each device. */
  readonly weights: readonly PjrtBuffer[];
}

/** Whether the program of this bucket can be cut into so many shares. */
export function canShard({ batch, agents }: Bucket, shards: number): boolean {
  return shards > 1 && batch === 1 && agents % shards === 0;
}

export class ShardedProgram {
  readonly #client: PjrtClient;
  readonly #executable: PjrtLoadedExecutable;
  readonly #shards: readonly Shard[];
  readonly #signature: Signature;
  readonly #bucket: Bucket;

  /** `executable` was compiled with one partition for each of `shards`, on their devices in that order; the weights stay the caller's. */
  constructor(
    client: PjrtClient,
    executable: PjrtLoadedExecutable,
    shards: readonly Shard[],
    signature: Signature,
    bucket: Bucket,
  ) {
    this.#client = client;
    this.#executable = executable;
    this.#shards = shards;
    this.#signature = signature;
    this.#bucket = bucket;
  }

  /** Runs once on all devices together; several runs may be in flight. Rejects with PjrtError. */
  async run(inputs: readonly TensorData[], clock: Clock): Promise<Omit<RunResult, 'device'>> {
    const startMs = clock.nowMs();
    const owned: PjrtBuffer[] = [];
    try {
      const lists = this.#shards.map(({ device, weights }, shard) => {
        const given = this.#signature.inputs.map((input, index) => {
          const buffer = this.#client.bufferFromHost(
            this.#share(input, inputs[index]!, shard) as HostArray,
            this.#shapeOfShare(input),
            { device, semantics: 'zero-copy' },
          );
          owned.push(buffer);
          return buffer;
        });
        return [...given, ...weights];
      });
      const transferredMs = clock.nowMs();
      const execution = await this.#executable.execute(lists);
      owned.push(...execution.outputs.flat());
      await execution.done;
      const executedMs = clock.nowMs();
      const outputs = this.#signature.outputs.map((output) => {
        const length = elementCount(shapeIn(output, this.#bucket));
        return output.dtype === 'int32' ? new Int32Array(length) : new Float32Array(length);
      });
      const copies = this.#signature.outputs.flatMap((output, index) => {
        const whole = outputs[index]!;
        const from = isCut(output) ? execution.outputs : execution.outputs.slice(0, 1);
        return from.map((results, shard) => results[index]!.copyToHost(this.#share(output, whole, shard) as HostArray));
      });
      // All of them, also after one failed: until then they write to `outputs`.
      for (const copy of await Promise.allSettled(copies)) if (copy.status === 'rejected') throw copy.reason as Error;
      return {
        outputs,
        transferInMs: transferredMs - startMs,
        executeMs: executedMs - transferredMs,
        transferOutMs: clock.nowMs() - executedMs,
      };
    } finally {
      for (const buffer of owned) buffer.dispose();
    }
  }

  dispose(): void {
    this.#executable.dispose();
  }

  /** The stretch of a whole tensor that belongs to a device; all of it where the tensor has no agents' axis. */
  #share(tensor: TensorSignature, whole: TensorData, shard: number): TensorData {
    if (!isCut(tensor)) return whole;
    const length = whole.length / this.#shards.length;
    return whole.subarray(shard * length, (shard + 1) * length);
  }

  #shapeOfShare(tensor: TensorSignature): number[] {
    const agents = this.#bucket.agents / this.#shards.length;
    return [...shapeIn(tensor, isCut(tensor) ? { ...this.#bucket, agents } : this.#bucket)];
  }
}

function isCut({ axes }: TensorSignature): boolean {
  return axes[1] === 'N';
}
