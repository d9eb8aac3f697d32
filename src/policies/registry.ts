/**
 * The policies in service: the built-in ones, and NAME.safetensors files of a directory, read again when they change.
 * Changes are found by polling (file watches miss renames, network file systems and mounted volumes). A bad file is
 * refused and the version that was in service stays.
 */
import { constants } from 'node:fs';
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../clock.js';
import { CoordinatorError } from '../errors.js';
import { Poller } from '../poller.js';
import { builtInPolicies, defaultPolicyName } from './built-in.js';
import type { Policy, PolicySource } from './policy.js';
import { readPolicyFile } from './policy-file.js';

export type PolicyEvent =
  | { readonly kind: 'loaded'; readonly name: string; readonly version: string }
  | { readonly kind: 'removed'; readonly name: string }
  /** The file, or the directory itself, was refused; `inService` is the version that stays, if any. */
  | { readonly kind: 'refused'; readonly file: string; readonly reason: string; readonly inService: string | null };

export interface PolicyRefusal {
  readonly file: string;
  readonly reason: string;
}

export interface PolicyRegistryOptions {
  /** Null: the built-in policies alone. */
  readonly directory: string | null;
  readonly pollMs: number;
  readonly clock: Clock;
  /** Called once for each change, also during `open`. Must not throw. */
  readonly onEvent?: (event: PolicyEvent) => void;
}

const suffix = '.safetensors';
const policyNamePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
/** Two float64 matrices of the greatest width, and room for header and vectors. */
const largestFileBytes = 32 * 1024 * 1024;
/** How many names an error lists. */
const namesInError = 10;

interface FileRecord {
  /** Identity of the content that was read: modification time, size and inode. */
  readonly stamp: string;
  /** The policy in service from this file, perhaps of an earlier content. */
  readonly policy: Policy | null;
  /** Why the present content was refused. */
  readonly reason: string | null;
}

export class PolicyRegistry implements PolicySource {
  readonly defaultName: string = defaultPolicyName;
  readonly #options: PolicyRegistryOptions;
  readonly #builtIn: ReadonlyMap<string, Policy>;
  readonly #files = new Map<string, FileRecord>();
  /** By name; replaced whole, so a caller's list never changes under it. */
  #policies: ReadonlyMap<string, Policy>;
  #directoryReason: string | null = null;
  readonly #poller: Poller;

  private constructor(options: PolicyRegistryOptions) {
    this.#options = options;
    this.#builtIn = new Map(builtInPolicies().map((policy) => [policy.name, policy]));
    this.#policies = this.#builtIn;
    this.#poller = new Poller(options.clock, options.pollMs, () => this.#scanDirectory());
  }

  /** Loads all policies and starts to poll. Rejects where the directory cannot be read; bad files only make events. */
  static async open(options: PolicyRegistryOptions): Promise<PolicyRegistry> {
    const registry = new PolicyRegistry(options);
    const { directory } = options;
    if (directory === null) return registry;
    await registry.reload();
    if (registry.#directoryReason !== null) {
      throw new Error(`policy directory ${directory}: ${registry.#directoryReason}`);
    }
    registry.#poller.start();
    return registry;
  }

  /** The policy in service under that name. Throws POLICY_UNKNOWN. */
  get(name: string): Policy {
    const policy = this.#policies.get(name);
    if (policy !== undefined) return policy;
    const names = [...this.#policies.keys()];
    const more = names.length > namesInError ? `, … (${names.length} in all)` : '';
    const received = JSON.stringify(name.length > 64 ? `${name.slice(0, 64)}…` : name);
    throw CoordinatorError.field(
      'POLICY_UNKNOWN',
      'policy',
      `one of ${names.slice(0, namesInError).join(', ')}${more}`,
      received,
    );
  }

  /** Built-in policies first, then by name. */
  list(): readonly Policy[] {
    return [...this.#policies.values()];
  }

  /** The files whose present content is refused, and the directory where it cannot be read. */
  refusals(): readonly PolicyRefusal[] {
    const refusals: PolicyRefusal[] = [];
    if (this.#directoryReason !== null) {
      refusals.push({ file: this.#options.directory ?? '', reason: this.#directoryReason });
    }
    for (const [file, { reason }] of this.#files) {
      if (reason !== null) refusals.push({ file, reason });
    }
    return refusals;
  }

  /** Looks for changes now; resolves when they are in service. Scans never overlap. Does not reject. */
  reload(): Promise<void> {
    return this.#poller.lookNow();
  }

  /** Stops polling. Policies stay readable. */
  close(): void {
    this.#poller.close();
  }

  async #scanDirectory(): Promise<void> {
    const { directory } = this.#options;
    if (directory === null) return;
    let names: string[];
    try {
      names = (await readdir(directory)).filter((file) => file.endsWith(suffix) && !file.startsWith('.')).sort();
    } catch (error) {
      this.#refuseDirectory(directory, reasonOf(error));
      return;
    }
    this.#directoryReason = null;
    for (const file of names) await this.#scanFile(directory, file);
    for (const [file, { policy }] of this.#files) {
      if (names.includes(file)) continue;
      this.#files.delete(file);
      this.#publish();
      if (policy !== null) this.#options.onEvent?.({ kind: 'removed', name: policy.name });
    }
  }

  /** Everything that was in service stays: a volume that is away for a moment must not take policies with it. */
  #refuseDirectory(directory: string, reason: string): void {
    const changed = this.#directoryReason !== reason;
    this.#directoryReason = reason;
    if (changed) this.#options.onEvent?.({ kind: 'refused', file: directory, reason, inService: null });
  }

  async #scanFile(directory: string, file: string): Promise<void> {
    const known = this.#files.get(file);
    const inService = known?.policy ?? null;
    let stamp = '';
    let handle: FileHandle | null = null;
    try {
      // Not blocking: opening a pipe would otherwise wait for its other end.
      handle = await open(join(directory, file), constants.O_RDONLY | constants.O_NONBLOCK);
      // Taken before the content: a write in between changes the stamp, and the next poll reads again.
      const stat = await handle.stat({ bigint: true });
      stamp = `${stat.mtimeNs} ${stat.size} ${stat.ino}`;
      if (stamp === known?.stamp) return;
      const name = file.slice(0, -suffix.length);
      if (this.#builtIn.has(name)) throw new Error(`\`${name}\` is a built-in policy and cannot be replaced`);
      if (!policyNamePattern.test(name)) {
        throw new Error(
          'a policy name is 1 to 64 letters, digits, `.`, `_` and `-`, and starts with a letter or digit',
        );
      }
      if (!stat.isFile()) throw new Error('not a file');
      if (stat.size > largestFileBytes) throw new Error(`${stat.size} bytes, more than ${largestFileBytes}`);
      const policy = readPolicyFile(name, await readAll(handle, Number(stat.size)));
      this.#files.set(file, { stamp, policy, reason: null });
      this.#publish();
      if (policy.fingerprint !== inService?.fingerprint || policy.version !== inService.version) {
        this.#options.onEvent?.({ kind: 'loaded', name, version: policy.version });
      }
    } catch (error) {
      const reason = reasonOf(error);
      // A file that cannot even be opened has no stamp: it is tried at every poll and told once.
      const told = known?.stamp === stamp && known.reason === reason;
      this.#files.set(file, { stamp, policy: inService, reason });
      if (!told) this.#options.onEvent?.({ kind: 'refused', file, reason, inService: inService?.version ?? null });
    } finally {
      await handle?.close();
    }
  }

  #publish(): void {
    const policies = new Map(this.#builtIn);
    for (const file of [...this.#files.keys()].sort()) {
      const policy = this.#files.get(file)?.policy ?? null;
      if (policy !== null) policies.set(policy.name, policy);
    }
    this.#policies = policies;
  }
}

/** At most `size` bytes from the start; fewer where the file was cut meanwhile. */
async function readAll(handle: FileHandle, size: number): Promise<Uint8Array> {
  const content = Buffer.alloc(size);
  let filled = 0;
  while (filled < size) {
    const { bytesRead } = await handle.read(content, filled, size - filled, filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return content.subarray(0, filled);
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
