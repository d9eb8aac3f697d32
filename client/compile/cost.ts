/** XLA's cost estimates, with its loops counted as often as they turn. */
import type { LoopStage, Program } from '../../src/compiler/program.js';
import { lowerToStableHlo, type StableHloOptions } from '../../src/compiler/stablehlo.js';
import type { TensorSignature } from '../../src/operators/signature.js';
import type { Cost, LoopCost } from './messages.js';

/** From what `PjrtExecutable.costAnalysis` gives. XLA puts -1 second into the sum for each operation whose time it does not know. */
export function costOf(analysis: ReadonlyMap<string, number>): Cost {
  const seconds = analysis.get('optimal_seconds') ?? null;
  const untimed = seconds === null || seconds >= 0 ? 0 : Math.ceil(-seconds);
  return {
    flops: analysis.get('flops') ?? 0,
    bytesAccessed: analysis.get('bytes accessed') ?? 0,
    seconds: seconds === null ? null : seconds + untimed,
    untimed,
  };
}

/** XLA counts the body of a loop once whatever its turns, so each further turn adds the cost of the body alone. */
export function withTurns(once: Cost, loops: readonly LoopCost[]): Cost {
  let whole = once;
  for (const { turns, body } of loops) {
    const more = turns - 1;
    whole = {
      flops: whole.flops + more * body.flops,
      bytesAccessed: whole.bytesAccessed + more * body.bytesAccessed,
      seconds: whole.seconds === null || body.seconds === null ? null : whole.seconds + more * body.seconds,
      untimed: whole.untimed + body.untimed,
    };
  }
  return whole;
}

/** The loops of a program that XLA sees as loops: those that the lowering unrolls are counted in full. */
export function loopsOf(program: Program, options: StableHloOptions): LoopStage[] {
  return program.stages
    .filter((stage) => stage.kind === 'loop')
    .filter((loop) => lowerToStableHlo(alone(program, loop), options).includes('stablehlo.while'));
}

/** One turn of a loop as a program of its own. */
export function turnOf(program: Program, loop: LoopStage): Program {
  return alone(program, { ...loop, iterations: 1 });
}

/** What the loop carries and reads goes in, what it carries comes out. */
function alone(program: Program, loop: LoopStage): Program {
  // The lowering takes types from the program's values; a signature only names and orders them.
  const tensor = (name: string): TensorSignature => ({ name, axes: [], dtype: 'float32', pad: 0 });
  const inputs = [...new Set([...loop.initial, ...loop.invariants])].map(tensor);
  return {
    ...program,
    signature: { inputs, outputs: loop.outputs.map(tensor), parameters: [] },
    stages: [loop],
  };
}
