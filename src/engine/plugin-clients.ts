/**
 * The clients that an engine has of its plugin. XLA's CPU client has a thread for each core, and hands pieces of whatever it runs to the others.
 * In a small program that costs more than it saves: of N=M=100 alone an execution takes 0.24 ms and 0.31 ms of the cores so, and 0.17 and 0.21 on
 * one thread. So on a CPU there is a second client with one thread. What was made on one client is of no use to the other.
 */
import { availableParallelism } from 'node:os';
import { agentsInputWidth, type Bucket, type ProgramSpec } from '../operators/signature.js';
import type { PjrtApi } from '../pjrt/call.js';
import { PjrtClient } from '../pjrt/client.js';

export interface PluginClients {
  /** With as many threads as the plugin chooses; for large programs, and for several devices. */
  readonly wide: PjrtClient;
  /** With one thread, for small programs, on a device that stands for the other client's first. Null: the other runs all. */
  readonly narrow: PjrtClient | null;
}

/** Variables by name, as `process.env`: what is set here is what native code in this process finds. */
export type LiveEnvironment = Record<string, string | undefined>;

/** Where XLA's CPU client looks how many threads to make when it is created; the first that is set counts. It has no option for it. */
const threadVariables = ['PJRT_NPROC', 'NPROC'] as const;

/**
 * Elements in the largest tensor of a small problem: up to here its operations are too short to be worth sharing, however many there are. What one
 * thread takes of what two take, of the time and of both cores, where all of the `reference` policy runs alone (HARD / TOP_K):
 * [1,128,128] 0.70 to 1.04 and 0.6 to 0.7 / 0.71 and 0.64, [4,128,128] 0.97 and 0.69 / 0.95 and 0.63, [1,256,256] 0.62 and 0.79 / 0.89 and 0.70,
 * [1,512,512] 1.35 and 0.91 / 1.14 and 0.94.
 */
const mostElements = 65_536;
/**
 * Of all problems of a batch together, on two cores. One thread takes longer for a batch, but there are batches where many call, and then the other core
 * has their requests to read and their answers to write: [32,128,128] takes 1.0 to 1.4 of the time alone, and 32 callers of exact `HARD` get as many
 * answers or up to a tenth more. Where there are more cores, a batch may have those: `mostElements` holds for it, too.
 */
const mostBatchElementsOnTwoCores = 524_288;

/** The client that a program for one device is compiled for, has its weights on and runs on. Says the same for equal arguments. */
export function clientFor(
  { wide, narrow }: PluginClients,
  spec: ProgramSpec,
  bucket: Bucket,
  cores = availableParallelism(),
): PjrtClient {
  const { batch, agents, tasks } = bucket;
  const elements = agents * Math.max(tasks, agentsInputWidth(spec) ?? 1, spec.consensus?.width ?? 1);
  const mostBatchElements = cores > 2 ? mostElements : mostBatchElementsOnTwoCores;
  return narrow !== null && elements <= mostElements && batch * elements <= mostBatchElements ? narrow : wide;
}

/**
 * Opens the plugin's devices: `devices` of a CPU, one unless set, else all. There is a narrow client where `environment` is given, one device of
 * a CPU is used, it has several cores, and `environment` does not say how many threads to make. Rejects with PjrtError.
 */
export async function openClients(
  api: PjrtApi,
  devices: number | undefined,
  environment: LiveEnvironment | undefined,
): Promise<PluginClients> {
  const wide = await openWide(api, devices ?? 1);
  const isOneCpuOfSeveralCores = wide.deviceMemoryIsHost && wide.devices.length === 1 && availableParallelism() > 1;
  const isTold = environment === undefined || threadVariables.some((name) => environment[name] !== undefined);
  if (!isOneCpuOfSeveralCores || isTold) return { wide, narrow: null };
  const [variable] = threadVariables;
  // The plugin reads it now only. It is gone before anything else here can read the environment or hand it on to a process or thread.
  environment[variable] = '1';
  try {
    return { wide, narrow: PjrtClient.createAtOnce(api, { cpu_device_count: 1 }) };
  } catch (thrown) {
    wide.dispose();
    throw thrown;
  } finally {
    // eslint-disable-next-line @typescript-eslint/no-dynamic-delete
    delete environment[variable];
  }
}

/**
 * A CPU's plugin makes as many devices as it is told, four by itself, and a thread for each beside those for the cores, which costs a tenth
 * more processor time for every execution. So it is opened again where it shows another number than is wanted.
 */
async function openWide(api: PjrtApi, wantedOfCpu: number): Promise<PjrtClient> {
  const client = await PjrtClient.create(api);
  if (!client.deviceMemoryIsHost || client.devices.length === wantedOfCpu) return client;
  client.dispose();
  return PjrtClient.create(api, { cpu_device_count: wantedOfCpu });
}
