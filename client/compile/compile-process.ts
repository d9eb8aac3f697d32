/**
 * Entry file of the process that compiles: a compiler that crashes takes no report with it, and libtpu reads its environment once,
 * when it is loaded. Takes one `CompileTask`, sends `CompileMessage`s, writes each program's files whole, and ends itself.
 */
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { lowerToStableHlo } from '../../src/compiler/stablehlo.js';
import { platformProgram, travelsBundled } from '../../src/engine/xla-program.js';
import { CoordinatorError } from '../../src/errors.js';
import { PjrtError } from '../../src/pjrt/call.js';
import type { PjrtExecutable } from '../../src/pjrt/executable.js';
import { loadPlugin } from '../../src/pjrt/library.js';
import { PjrtTopology } from '../../src/pjrt/topology.js';
import { costOf, loopsOf, turnOf, withTurns } from './cost.js';
import type { CompiledFacts, CompileMessage, CompileTask, LoopCost } from './messages.js';
import type { PlannedProgram } from './plan.js';

function send(message: CompileMessage): Promise<void> {
  return new Promise((resolve, reject) => {
    if (process.send === undefined) throw new Error('started without a parent to answer');
    process.send(message, (error: Error | null) => (error === null ? resolve() : reject(error)));
  });
}

async function compileAll({ pluginPath, topology: name, programs, directory, parallel }: CompileTask): Promise<void> {
  const topology = await PjrtTopology.create(loadPlugin(pluginPath), name);
  const { platformName: platform, platformVersion, devices } = topology;
  await send({ kind: 'topology', platform, platformVersion, devices: devices.map(({ kind }) => kind) });
  const waiting = [...programs];
  const lane = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      await send({ kind: 'started', name: next.name });
      try {
        await send({ kind: 'compiled', facts: await compileOne(topology, next, directory) });
      } catch (error) {
        await send({ kind: 'failed', name: next.name, why: reasonOf(error) });
      }
    }
  };
  await Promise.all(Array.from({ length: parallel }, lane));
}

async function compileOne(
  topology: PjrtTopology,
  { name, spec, bucket, partitions }: PlannedProgram,
  directory: string | null,
): Promise<CompiledFacts> {
  const { program, options } = platformProgram(spec, bucket, topology.platformName);
  const text = lowerToStableHlo(program, { ...options, partitions, bundled: travelsBundled(partitions) });
  if (directory !== null) await writeWhole(join(directory, `${name}.hlo`), text);
  const devices = topology.devices.slice(0, partitions).map(({ id }) => id);
  const startedAt = performance.now();
  using executable = await topology.compile(text, partitions === 1 ? {} : { partitions, devices });
  const compileSeconds = (performance.now() - startedAt) / 1000;
  const serialized = await serializedOf(executable);
  if (directory !== null && serialized !== null) await writeWhole(join(directory, `${name}.executable`), serialized);
  const memory = executable.memory();
  const cost = costOf(executable.costAnalysis());
  let loops: LoopCost[] | null = null;
  if (partitions === 1) {
    loops = [];
    for (const loop of loopsOf(program, options)) {
      using body = await topology.compile(lowerToStableHlo(turnOf(program, loop), options));
      loops.push({ turns: loop.iterations, body: costOf(body.costAnalysis()) });
    }
  }
  return {
    name,
    cost,
    loops,
    wholeCost: loops === null ? null : withTurns(cost, loops),
    argumentBytes: memory.argumentBytes,
    outputBytes: memory.outputBytes,
    tempBytes: memory.tempBytes,
    peakBytes: memory.peakBytes,
    codeBytes: executable.codeBytes(),
    compileSeconds,
    executableBytes: serialized?.length ?? null,
  };
}

async function serializedOf(executable: PjrtExecutable): Promise<Uint8Array | null> {
  try {
    return await executable.serialize();
  } catch (error) {
    if (error instanceof PjrtError && error.code === 'UNIMPLEMENTED') return null;
    throw error;
  }
}

/** A reader never sees half a file, also where this process is killed. */
async function writeWhole(path: string, content: string | Uint8Array): Promise<void> {
  await writeFile(`${path}.part`, content);
  await rename(`${path}.part`, path);
}

function reasonOf(error: unknown): string {
  const { message, cause } = CoordinatorError.from(error);
  return error instanceof CoordinatorError ? message : cause instanceof Error ? cause.message : message;
}

process.once('message', (task) => {
  void compileAll(task as CompileTask)
    .catch((error: unknown) => send({ kind: 'refused', why: reasonOf(error) }))
    // libtpu's timers would kill a process that ends by itself.
    .finally(() => process.exit(0));
});
