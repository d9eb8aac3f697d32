/**
 * Memory that the pool and one solver thread share, a slot to a problem: writing a small problem there costs the event loop
 * a third of what cloning it would. A slot belongs to the pool until its number is sent, to the thread until it is sent back.
 *
 * A slot holds a header of float64 words, then the arrays of the problem that are there, then task_of_agent and prices of the result.
 */
import type { HardProblem, HardResult } from './hard.js';
import type { PosedProblem } from './positions.js';
import { slotCount } from './solver-messages.js';

/** Room for 32768 float32 utilities and what belongs to them. */
export const slotBytes = 160 * 1024;

const headerWords = 32;
/** Header words from here on: where each array begins, in bytes from the start of the memory; 0: there is none. */
const firstOffset = 16;
/** After the problem's arrays: the result's. */
const resultField = 12;
/** Header word: width of the positions; 0: the utilities themselves. */
const widthWord = 31;
const noNumber = NaN;

const solvers: readonly HardProblem['solver'][] = ['AUTO', 'EXACT', 'AUCTION', 'GREEDY'];
const resultSolvers: readonly HardResult['solver'][] = ['exact', 'auction', 'greedy', 'sparse-exact', 'sparse-auction'];

/** The arrays of a problem in the order of their offsets. */
type Field = Float32Array | Float64Array | Uint8Array | Uint32Array | Int32Array | null | undefined;

export class SolverSlots {
  readonly memory: SharedArrayBuffer;
  readonly #bytes: Uint8Array;
  readonly #ints: Int32Array;
  readonly #uints: Uint32Array;
  readonly #floats: Float32Array;
  readonly #doubles: Float64Array;

  /** `memory` is another side's; by default new. */
  constructor(memory = new SharedArrayBuffer(slotCount * slotBytes)) {
    this.memory = memory;
    this.#bytes = new Uint8Array(memory);
    this.#ints = new Int32Array(memory);
    this.#uints = new Uint32Array(memory);
    this.#floats = new Float32Array(memory);
    this.#doubles = new Float64Array(memory);
  }

  /** Writes `problem`, with another budget; false where it does not fit. */
  writeProblem(slot: number, problem: PosedProblem, budgetMs: number | null): boolean {
    const { agentCount, taskCount, utility, warm, potentials } = problem;
    const isNumbers = utility instanceof Float32Array;
    const fields: readonly Field[] = [
      isNumbers ? utility : utility.agents,
      problem.bias,
      problem.agentActive,
      problem.taskActive,
      problem.capacities,
      problem.previous,
      problem.locks,
      warm?.taskPrices,
      warm?.taskOfAgent,
      potentials?.row,
      potentials?.column,
      isNumbers ? null : utility.tasks,
    ];
    let bytes = 8 * headerWords + aligned(4 * agentCount) + 8 * taskCount;
    for (const field of fields) if (field != null) bytes += aligned(field.byteLength);
    if (bytes > slotBytes) return false;
    const start = slot * slotBytes;
    const words = start / 8;
    const header = this.#doubles;
    header[words] = agentCount;
    header[words + 1] = taskCount;
    header[words + 2] = problem.idleUtility ?? noNumber;
    header[words + 3] = problem.keepBonus;
    header[words + 4] = solvers.indexOf(problem.solver);
    header[words + 5] = budgetMs ?? noNumber;
    header[words + 6] = problem.maxChange ?? noNumber;
    header[words + 7] = warm === null ? 0 : 1;
    header[words + widthWord] = isNumbers ? 0 : utility.width;
    let at = start + 8 * headerWords;
    for (let index = 0; index < fields.length; index++) {
      const field = fields[index];
      header[words + firstOffset + index] = field == null ? 0 : at;
      if (field == null) continue;
      if (field instanceof Float32Array) this.#floats.set(field, at / 4);
      else if (field instanceof Uint8Array) this.#bytes.set(field, at);
      else if (field instanceof Int32Array) this.#ints.set(field, at / 4);
      else if (field instanceof Uint32Array) this.#uints.set(field, at / 4);
      else this.#doubles.set(field, at / 8);
      at += aligned(field.byteLength);
    }
    header[words + firstOffset + resultField] = at;
    return true;
  }

  /** The problem in `slot`; its arrays are views, valid until the slot is sent back. */
  readProblem(slot: number): PosedProblem {
    const words = (slot * slotBytes) / 8;
    const header = this.#doubles;
    const agents = header[words]!;
    const tasks = header[words + 1]!;
    const width = header[words + widthWord]!;
    const at = (index: number): number => header[words + firstOffset + index]!;
    const { memory } = this;
    const floats = (index: number, length: number): Float32Array => new Float32Array(memory, at(index), length);
    const ints = (index: number, length: number): Int32Array => new Int32Array(memory, at(index), length);
    return {
      agentCount: agents,
      taskCount: tasks,
      utility:
        width === 0
          ? floats(0, agents * tasks)
          : { width, agents: floats(0, agents * width), tasks: floats(11, tasks * width) },
      bias: at(1) === 0 ? null : floats(1, agents * tasks),
      agentActive: new Uint8Array(memory, at(2), agents),
      taskActive: new Uint8Array(memory, at(3), tasks),
      capacities: at(4) === 0 ? null : new Uint32Array(memory, at(4), tasks),
      previous: at(5) === 0 ? null : ints(5, agents),
      locks: at(6) === 0 ? null : ints(6, agents),
      warm:
        header[words + 7] === 0
          ? null
          : {
              taskPrices: at(7) === 0 ? null : new Float64Array(memory, at(7), tasks),
              taskOfAgent: at(8) === 0 ? null : ints(8, agents),
            },
      potentials: at(9) === 0 ? null : { row: floats(9, agents), column: floats(10, tasks) },
      idleUtility: numberOrNull(header[words + 2]!),
      keepBonus: header[words + 3]!,
      solver: solvers[header[words + 4]!]!,
      budgetMs: numberOrNull(header[words + 5]!),
      maxChange: numberOrNull(header[words + 6]!),
    };
  }

  /** Writes the result of the problem in `slot`, and for how long the thread was busy with it. */
  writeResult(slot: number, result: HardResult, tookMs: number): void {
    const words = (slot * slotBytes) / 8;
    const header = this.#doubles;
    const at = header[words + firstOffset + resultField]!;
    const { taskOfAgent, taskPrices } = result;
    this.#ints.set(taskOfAgent, at / 4);
    if (taskPrices !== null) this.#doubles.set(taskPrices, (at + aligned(4 * taskOfAgent.length)) / 8);
    header[words + 8] = result.objective;
    header[words + 9] = result.totalUtility;
    header[words + 10] = result.upperBound;
    header[words + 11] = resultSolvers.indexOf(result.solver);
    header[words + 12] = taskPrices === null ? 0 : 1;
    header[words + 13] = result.changeLimited ? 1 : 0;
    header[words + 14] = result.warmStartUsed ? 1 : 0;
    header[words + 15] = tookMs;
  }

  /** The result in `slot`, with memory of its own. */
  readResult(slot: number): { readonly result: HardResult; readonly tookMs: number } {
    const words = (slot * slotBytes) / 8;
    const header = this.#doubles;
    const agents = header[words]!;
    const tasks = header[words + 1]!;
    const at = header[words + firstOffset + resultField]!;
    const pricesAt = (at + aligned(4 * agents)) / 8;
    const result: HardResult = {
      taskOfAgent: this.#ints.slice(at / 4, at / 4 + agents),
      taskPrices: header[words + 12] === 0 ? null : this.#doubles.slice(pricesAt, pricesAt + tasks),
      objective: header[words + 8]!,
      totalUtility: header[words + 9]!,
      upperBound: header[words + 10]!,
      solver: resultSolvers[header[words + 11]!]!,
      changeLimited: header[words + 13] === 1,
      warmStartUsed: header[words + 14] === 1,
    };
    return { result, tookMs: header[words + 15]! };
  }
}

function aligned(bytes: number): number {
  return (bytes + 7) & ~7;
}

function numberOrNull(value: number): number | null {
  return Number.isNaN(value) ? null : value;
}
