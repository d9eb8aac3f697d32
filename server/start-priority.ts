/**
 * Where a process that starts stands among those that serve on the same cores: behind them. It takes a second of processor time for modules and
 * programs, and what it takes, the calls of others wait for. On Linux, and where the system lets it come back from there, which takes CAP_SYS_NICE or a
 * limit on nice that is high enough; between containers and systemd units their CPU weights decide, not this.
 */
import { readdirSync } from 'node:fs';
import { getPriority, platform, setPriority } from 'node:os';

/** Behind the solvers of others, too (10, solver-worker.ts). */
const startNiceness = 12;
/** On cores that others never leave, a start would last. */
const longestMs = 5_000;
const threadsFolder = '/proc/self/task';
const leastNiceness = -20;

let comeBack: (() => void) | null = null;

/** Lowers the priority of this process, its later threads included, until `endYielding`, for some seconds at most. Once in a process's life. */
export function yieldWhileStarting(): void {
  if (platform() !== 'linux') return;
  const own = getPriority();
  if (own >= startNiceness || !mayRaise(own)) return;
  moveThreads(() => true, startNiceness);
  const timer = setTimeout(endYielding, longestMs);
  timer.unref();
  comeBack = () => {
    clearTimeout(timer);
    // Those that have found a place of their own meanwhile keep it.
    moveThreads((niceness) => niceness === startNiceness, own);
  };
}

/** Back to the priority that the process was started with. Does nothing where it has that. */
export function endYielding(): void {
  comeBack?.();
  comeBack = null;
}

/** Tried in the one direction that leaves nothing behind where it is not allowed. */
function mayRaise(own: number): boolean {
  if (own <= leastNiceness) return false;
  try {
    setPriority(own - 1);
    setPriority(own);
    return true;
  } catch {
    return false;
  }
}

function moveThreads(which: (niceness: number) => boolean, niceness: number): void {
  for (const thread of readdirSync(threadsFolder).map(Number)) {
    try {
      if (which(getPriority(thread))) setPriority(thread, niceness);
    } catch {
      // It has ended meanwhile.
    }
  }
}
