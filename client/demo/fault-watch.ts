/** Turns the consensus's outlier flags of each tick into a verdict that does not flicker. */

/** A robot is faulty once it was flagged in this many of the last `windowTicks` answers. */
const flagsToConvict = 6;
const windowTicks = 8;
/** It is believed again after this many answers in a row without a flag. */
const cleanTicksToAcquit = 30;

export class FaultWatch {
  /** Bit k of a robot's history: flagged k answers ago. */
  readonly #history: Uint8Array;
  readonly #cleanTicks: Uint16Array;
  readonly #convicted: Uint8Array;

  constructor(robotCount: number) {
    this.#history = new Uint8Array(robotCount);
    this.#cleanTicks = new Uint16Array(robotCount);
    this.#convicted = new Uint8Array(robotCount);
  }

  /** Takes one answer's outliers. Robots that are not `present` took no part and keep their verdict. */
  update(outliers: readonly number[], present: Uint8Array): void {
    const flagged = new Set(outliers);
    for (let i = 0; i < present.length; i += 1) {
      if (present[i] === 0) continue;
      const hit = flagged.has(i);
      this.#history[i] = ((this.#history[i]! << 1) | (hit ? 1 : 0)) & (2 ** windowTicks - 1);
      this.#cleanTicks[i] = hit ? 0 : Math.min(65_535, this.#cleanTicks[i]! + 1);
      if (countBits(this.#history[i]!) >= flagsToConvict) this.#convicted[i] = 1;
      else if (this.#cleanTicks[i]! >= cleanTicksToAcquit) this.#convicted[i] = 0;
    }
  }

  isFaulty(robot: number): boolean {
    return this.#convicted[robot] === 1;
  }
}

function countBits(value: number): number {
  let count = 0;
  for (let rest = value; rest !== 0; rest &= rest - 1) count += 1;
  return count;
}
