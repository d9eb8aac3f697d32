/** CPU time of other processes, from /proc. */
import { readFileSync } from 'node:fs';

export interface CpuTime {
  readonly processMs: number;
  /** Of the thread that JavaScript runs on: over the time that passed it is how busy the event loop was. */
  readonly mainThreadMs: number;
}

/** Since the process began; null where the system has no /proc. Counted in ticks of 10 ms. */
export function cpuTimeOf(pid: number): CpuTime | null {
  try {
    return { processMs: ticksMs(`/proc/${pid}/stat`), mainThreadMs: ticksMs(`/proc/${pid}/task/${pid}/stat`) };
  } catch {
    return null;
  }
}

/** The name may hold spaces; utime and stime are the 12th and 13th fields after it. */
function ticksMs(file: string): number {
  const fields = readFileSync(file, 'utf8').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

export function cpuTimeBetween(before: CpuTime | null, after: CpuTime | null): CpuTime | null {
  if (before === null || after === null) return null;
  return {
    processMs: after.processMs - before.processMs,
    mainThreadMs: after.mainThreadMs - before.mainThreadMs,
  };
}
