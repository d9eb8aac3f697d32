import { CoordinatorError } from '../errors.js';
import type { JobResult } from '../batching/job.js';

/** A float output of a job by its signature name. INTERNAL where the program did not give it. */
export function outputOf(result: JobResult, name: string): Float32Array {
  const output = result.outputs.get(name);
  if (!(output instanceof Float32Array)) throw new CoordinatorError('INTERNAL', `program output ${name} is missing`);
  return output;
}
