/** Plays a run against anything that answers ticks as a stream does: the tick loop, without server, terminal or arguments. */
import type { CoordinateAnswer, CoordinateRequest } from '../request.js';
import { GreedyBaseline } from './baseline.js';
import { Commander } from './commander.js';
import { Tally } from './tally.js';
import { World, type WorldOptions } from './world.js';

export type CoordinateCall = (
  request: CoordinateRequest,
  options: { readonly deadlineMs: number; readonly signal?: AbortSignal | undefined },
) => Promise<CoordinateAnswer>;

export interface Pace {
  /** Real milliseconds from the start of a tick to that of the next; 0 = as fast as the answers come. */
  readonly tickMs: number;
  readonly deadlineMs: number;
  readonly signal?: AbortSignal;
  /** Called after every tick. */
  readonly onTick?: (simulation: Simulation) => void;
}

export class Simulation {
  readonly world: World;
  readonly baseline: GreedyBaseline;
  readonly commander: Commander;
  readonly tally: Tally;

  constructor(options: WorldOptions) {
    this.world = new World(options);
    this.baseline = new GreedyBaseline(options);
    this.commander = new Commander(this.world);
    this.tally = new Tally(options.robotCount);
  }

  /**
   * Asks once without counting, so that the programs for these sizes are compiled before the clock starts. Returns the
   * milliseconds it took. Rejects as `call` does.
   */
  async warmUp(call: CoordinateCall, deadlineMs: number, signal?: AbortSignal): Promise<number> {
    const startMs = performance.now();
    await call(this.commander.request(this.world, 'warm-up'), { deadlineMs, signal });
    return performance.now() - startMs;
  }

  /** `call` knows what it answered last. Until the world's last step, or until `signal` aborts. A call that fails leaves the robots their orders and is counted. */
  async play(call: CoordinateCall, pace: Pace): Promise<void> {
    let dueMs = performance.now();
    while (this.world.now < this.world.steps && pace.signal?.aborted !== true) {
      await this.#tick(call, pace);
      pace.onTick?.(this);
      dueMs += pace.tickMs;
      const leftMs = dueMs - performance.now();
      if (leftMs >= 0) await pause(leftMs, pace.signal);
      else if (pace.tickMs > 0) {
        // Late: the next tick starts at once and the plan is moved back, so that lost time is not made up for.
        this.tally.lateTicks += 1;
        dueMs = performance.now();
      }
    }
  }

  async #tick(call: CoordinateCall, pace: Pace): Promise<void> {
    const { world, commander, tally } = this;
    const request = commander.request(world, `tick-${world.now}`);
    const startMs = performance.now();
    try {
      const answer = await call(request, { deadlineMs: pace.deadlineMs, signal: pace.signal });
      tally.answered(world, answer, performance.now() - startMs);
      commander.apply(world, answer);
    } catch (error) {
      if (pace.signal?.aborted === true) return;
      tally.failed(error instanceof Error ? error.message : String(error));
    }
    tally.judge(world, commander.faults);
    world.step(commander.goals);
    this.baseline.step();
  }
}

function pause(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, delayMs);
    signal?.addEventListener('abort', done, { once: true });
  });
}
