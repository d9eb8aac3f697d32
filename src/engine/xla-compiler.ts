/** From a program's spec to an executable on the client's devices: lowered on a thread of its own, compiled on libuv's pool. */
import { createHash } from 'node:crypto';
import type { Bucket, ProgramSpec } from '../operators/signature.js';
import type { PjrtClient } from '../pjrt/client.js';
import type { PjrtLoadedExecutable } from '../pjrt/executable.js';
import { LoweringThread } from './lowering-thread.js';
import { pjrtFailure } from './pjrt-failure.js';

export interface CompiledProgram {
  /** The caller's to dispose. */
  readonly executable: PjrtLoadedExecutable;
  /** Digest of everything that decides the executable: equal keys, equal code. */
  readonly key: string;
}

export class XlaCompiler {
  readonly #client: PjrtClient;
  readonly #lowering = new LoweringThread();

  constructor(client: PjrtClient) {
    this.#client = client;
  }

  /** COMPILE_FAILED, with the compiler's words, where the program cannot be lowered or is refused. */
  async compile(spec: ProgramSpec, bucket: Bucket): Promise<CompiledProgram> {
    const text = await this.#lowering.lower(spec, bucket);
    const key = createHash('sha256').update(this.#client.platformVersion).update(text).digest('hex');
    try {
      return { executable: await this.#client.compile(text), key };
    } catch (thrown) {
      throw pjrtFailure(thrown, 'COMPILE_FAILED');
    }
  }

  async close(): Promise<void> {
    await this.#lowering.close();
  }
}
