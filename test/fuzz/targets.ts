/** Every way in that is fuzzed. */
import type { Target } from './target.js';
import { openNeighbourTarget } from './target-neighbour.js';
import { requestTarget } from './target-request.js';
import { safetensorsTarget } from './target-safetensors.js';
import { streamTarget } from './target-stream.js';
import { warmStartTarget } from './target-warm-start.js';

/** Of pure functions: no engine, no thread. */
export const decoderTargets: readonly Target[] = [requestTarget, streamTarget, warmStartTarget, safetensorsTarget];
export const targetNames: readonly string[] = [...decoderTargets.map(({ name }) => name), 'neighbour'];

/** Close it where it can be closed. */
export async function openTarget(name: string): Promise<Target> {
  const found = decoderTargets.find((target) => target.name === name);
  if (found !== undefined) return found;
  if (name === 'neighbour') return openNeighbourTarget();
  throw new Error(`no target '${name}'; there are ${targetNames.join(', ')}`);
}
