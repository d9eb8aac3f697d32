import type { Bucket, ProgramSpec } from '../operators/signature.js';

/** Several times what one core of a small machine took (3 ns for a cell and iteration of Sinkhorn, 8 ns for a cell and coordinate). */
const nsPerCellPass = 20;

/**
 * How long a healthy run of the program may take at most on a slow machine, in milliseconds: what a request that asks
 * for much (1000 iterations on 5120 x 5120) is allowed before its engine counts as hung.
 */
export function longestRunMs({ utility, soft, consensus }: ProgramSpec, { batch, agents, tasks }: Bucket): number {
  const distancePasses = utility?.source === 'distance' ? utility.width : 1;
  const pairs = batch * agents * tasks * (distancePasses + (soft?.iterations ?? 0));
  const states = consensus === null ? 0 : batch * agents * consensus.width * (consensus.iterations + 16);
  return ((pairs + states) * nsPerCellPass) / 1e6;
}
