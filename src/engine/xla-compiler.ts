/**
 * From a program's spec to an executable on the client's devices: out of the cache on disk, else lowered on a thread of its own and compiled on
 * libuv's pool.
 *
 * An entry is found by what decides it and is known without lowering: spec, bucket, compile options, the code that lowers, the
 * build of the plugin, its devices and the host. So a start whose programs are all in the cache does not even load the tracer.
 */
import { createHash } from 'node:crypto';
import { bucketName, specKey, type Bucket, type ProgramSpec } from '../operators/signature.js';
import { PjrtError } from '../pjrt/call.js';
import type { PjrtClient } from '../pjrt/client.js';
import { encodeCompileOptions, type CompileOptions } from '../pjrt/compile-options.js';
import type { PjrtLoadedExecutable } from '../pjrt/executable.js';
import type { ExecutableCache } from './executable-cache.js';
import { loweringDigest } from './lowering-digest.js';
import { LoweringThread } from './lowering-thread.js';
import { pjrtFailure } from './pjrt-failure.js';
import { platformOverrides } from './platform-overrides.js';
import { clientFor, type PluginClients } from './plugin-clients.js';
import { pluginDigest } from './plugin-digest.js';

export interface CompiledProgram {
  /** Which of the clients it is for. */
  readonly client: PjrtClient;
  /** The caller's to dispose. */
  readonly executable: PjrtLoadedExecutable;
  /** Digest of everything that decides the executable: equal keys, equal code. */
  readonly key: string;
  /** As the plugin writes it; null where it was not asked, or cannot. */
  readonly serializedBytes: number | null;
}

export interface XlaCompilerOptions {
  /** Null: every program is compiled. */
  readonly cache: ExecutableCache | null;
  /** What compiled code depends on beside plugin and devices: the CPU's instructions, the compiler's flags. */
  readonly host: string;
  readonly log?: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

/** What a cached executable must have been made with. */
interface Identity {
  readonly lowering: string;
  readonly digest: string;
}

/** An entry's payload: the digest that becomes `CompiledProgram.key`, then what the plugin serialized. */
const keyBytes = 32;

export class XlaCompiler {
  readonly #clients: PluginClients;
  readonly #options: XlaCompilerOptions;
  readonly #lowering = new LoweringThread();
  /** Null where nothing can be cached. */
  #identity: Promise<Identity | null>;
  readonly #writing = new Set<Promise<void>>();
  /** False once the plugin said that it cannot. */
  #serializes = true;

  constructor(clients: PluginClients, options: XlaCompilerOptions = { cache: null, host: '' }) {
    this.#clients = clients;
    this.#options = options;
    this.#identity = this.#identify();
  }

  /**
   * Equal arguments give equal executables: whatever else comes to decide the text must enter the entry's name. COMPILE_FAILED, with the
   * compiler's words, where the program cannot be lowered or is refused.
   */
  async compile(spec: ProgramSpec, bucket: Bucket, wanted: CompileOptions = {}): Promise<CompiledProgram> {
    const { partitions = 1 } = wanted;
    const client = partitions > 1 ? this.#clients.wide : clientFor(this.#clients, spec, bucket);
    const { platformName, platformVersion } = client;
    const options = { ...wanted, overrides: { ...platformOverrides(platformName), ...wanted.overrides } };
    // Weights are arguments: policies of one shape share their executables.
    const program: ProgramSpec = { ...spec, parameters: '' };
    const identity = await this.#identity;
    // The compiler cuts a program up for the threads of its client.
    const threads = client === this.#clients.narrow ? ['1 thread'] : [];
    const compiledFor = [Buffer.from(encodeCompileOptions(options)).toString('hex'), ...threads];
    const entry =
      identity === null
        ? ''
        : sha256([identity.digest, specKey(program), bucketName(bucket), ...compiledFor].join('\n'));
    if (identity !== null) {
      const cached = await this.#load(client, entry);
      if (cached !== null) return cached;
    }
    const { text, lowering } = await this.#lowering.lower(program, bucket, platformName, partitions);
    const build = identity?.digest ?? platformVersion;
    const key = sha256([build, ...compiledFor, text].join('\n'));
    let executable: PjrtLoadedExecutable;
    try {
      executable = await client.compile(text, options);
    } catch (thrown) {
      throw pjrtFailure(thrown, 'COMPILE_FAILED');
    }
    // Another build may have come into the folder between the start of this process and that of the thread.
    const isKept = identity?.lowering === lowering;
    const serialized = isKept || client.deviceMemoryIsHost ? await this.#serialize(executable) : null;
    if (isKept && serialized !== null) this.#save(entry, key, serialized);
    return { client, executable, key, serializedBytes: serialized?.length ?? null };
  }

  /** Waits for what is being written. */
  async close(): Promise<void> {
    await Promise.all([this.#lowering.close(), ...this.#writing]);
  }

  async #load(client: PjrtClient, entry: string): Promise<CompiledProgram | null> {
    const { cache } = this.#options;
    const payload = await cache!.read(entry);
    if (payload === null) return null;
    const serialized = payload.subarray(keyBytes);
    try {
      const executable = await client.deserialize(serialized);
      const key = Buffer.from(payload.subarray(0, keyBytes)).toString('hex');
      return { client, executable, key, serializedBytes: serialized.length };
    } catch (thrown) {
      if (!(thrown instanceof PjrtError)) throw thrown;
      await cache!.refuse(entry, thrown.message);
      return null;
    }
  }

  /** Null where the plugin cannot: nothing is cached from then on. */
  async #serialize(executable: PjrtLoadedExecutable): Promise<Uint8Array | null> {
    if (!this.#serializes) return null;
    try {
      return await executable.executable.serialize();
    } catch (thrown) {
      if (!(thrown instanceof PjrtError)) throw thrown;
      this.#serializes = false;
      if (this.#options.cache !== null) this.#giveUp(thrown.message);
      return null;
    }
  }

  /** In the background: whoever waits for the program need not wait for this. */
  #save(entry: string, key: string, serialized: Uint8Array): void {
    const write = this.#options.cache!.write(entry, Buffer.concat([Buffer.from(key, 'hex'), serialized]));
    const writing = write.finally(() => this.#writing.delete(writing));
    this.#writing.add(writing);
  }

  async #identify(): Promise<Identity | null> {
    const { cache, host } = this.#options;
    if (cache === null) return null;
    const { api, platformName, platformVersion, devices } = this.#clients.wide;
    try {
      const plugin = await pluginDigest(api.path, cache);
      const lowering = loweringDigest();
      const { major, minor } = api.version;
      const kinds = devices.map(({ kind }) => kind);
      const parts = [lowering, plugin, major, minor, platformName, platformVersion, kinds, host];
      return { lowering, digest: sha256(JSON.stringify(parts)) };
    } catch (thrown) {
      this.#giveUp(thrown instanceof Error ? thrown.message : String(thrown));
      return null;
    }
  }

  #giveUp(reason: string): void {
    this.#identity = Promise.resolve(null);
    this.#options.log?.('executables are not cached: every start compiles them', { reason });
  }
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
