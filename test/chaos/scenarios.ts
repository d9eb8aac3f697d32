/** All scenarios that this machine can run. */
import { adminAbuse } from './admin.js';
import { floods, malformed, slowClients } from './clients.js';
import { badPolicyFiles, damagedCache, fullDisk } from './disk.js';
import { clockJump, hardKill, termination } from './ending.js';
import { workerFault } from './engine-faults.js';
import type { Scenario } from './scenario.js';

/** `plugin`: of XLA for the CPU, whose programs are kept on disk; null where it is not installed. */
export function scenarios(plugin: string | null): readonly Scenario[] {
  return [
    hardKill,
    termination,
    clockJump,
    workerFault('hang', false),
    workerFault('hang', true),
    workerFault('memory', false),
    workerFault('exit', true),
    ...(plugin === null ? [] : [fullDisk(plugin), damagedCache(plugin)]),
    badPolicyFiles,
    slowClients,
    floods,
    malformed,
    adminAbuse,
  ];
}
