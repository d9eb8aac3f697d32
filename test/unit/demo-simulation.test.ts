import { beforeAll, describe, expect, it } from 'vitest';
import { drawMoment, type Look, type Moment } from '../../client/demo/draw.js';
import { FaultWatch } from '../../client/demo/fault-watch.js';
import { logLines } from '../../client/demo/panel.js';
import { Screen, type TerminalStream } from '../../client/demo/screen.js';
import { type CoordinateCall, Simulation } from '../../client/demo/simulation.js';
import { renderLine, span, wantsColour, wantsUnicode } from '../../client/demo/style.js';
import { checksOf, type Run, summaryLines } from '../../client/demo/summary.js';
import { percentile } from '../../client/demo/tally.js';
import { parked } from '../../client/demo/world.js';
import { answerExactly, exactStream } from './demo-fake-coordinator.js';

const pace = { tickMs: 0, deadlineMs: 1000 };

function small(): Simulation {
  return new Simulation({ seed: 7, robotCount: 80, siteCount: 60, steps: 150 });
}

function runOf({ world, baseline, commander, tally }: Simulation, serverExit: number | null = null): Run {
  return { world, baseline: baseline.world, commander, tally, serverExit };
}

async function played(call: CoordinateCall = exactStream()): Promise<Simulation> {
  const simulation = small();
  await simulation.play(call, pace);
  return simulation;
}

function failedChecks(run: Run): string[] {
  return checksOf(run)
    .filter((check) => !check.passed)
    .map((check) => check.name);
}

describe('the simulation', () => {
  it('passes every check when the answers are exact', async () => {
    const run = runOf(await played(), 0);
    expect(failedChecks(run)).toEqual([]);
    expect(checksOf(run)).toHaveLength(7);
    expect(run.tally.latenciesMs).toHaveLength(150);
  });

  it('plays the same run twice for one seed', async () => {
    const [first, again] = [await played(), await played()];
    expect(again.world.robots).toEqual(first.world.robots);
    expect(again.commander.mindChanges).toBe(first.commander.mindChanges);
  });

  it('goes on with the old orders when a call fails, and fails the run', async () => {
    let calls = 0;
    const exact = exactStream();
    const simulation = await played((request) => {
      calls += 1;
      return calls === 40 ? Promise.reject(new Error('engine on fire')) : exact(request);
    });
    expect(simulation.world.now).toBe(150);
    const run = runOf(simulation);
    expect(failedChecks(run)).toEqual(['every call answered']);
    expect(checksOf(run)[0]!.detail).toContain('engine on fire');
  });

  it('fails the run when robots are never assigned, the gap is wide, or nobody is found faulty', async () => {
    const simulation = await played((request) => {
      const answer = answerExactly(request);
      const lazy = { ...answer.assignment!, taskOfAgent: new Int32Array(80).fill(-1), gap: 0.5 };
      return Promise.resolve({ ...answer, assignment: lazy, consensus: { ...answer.consensus!, outliers: [] } });
    });
    expect(failedChecks(runOf(simulation, 1))).toEqual([
      'certified gap',
      'faulty robots found',
      'sites served in time',
      'server stopped cleanly',
    ]);
  });

  it('fails the run when the agreed beacon is the plain mean', async () => {
    const simulation = await played((request) => {
      const answer = answerExactly(request);
      const mean = [0, 1].map((axis) => {
        const values = [...request.responses!.data].filter(
          (_, i) => i % 2 === axis && request.agentMask![i >> 1] === 1,
        );
        return values.reduce((sum, value) => sum + value, 0) / values.length;
      });
      const centroid = { data: Float32Array.from(mean, (value) => value + 1), shape: [2] };
      return Promise.resolve({ ...answer, consensus: { ...answer.consensus!, centroid } });
    });
    expect(failedChecks(runOf(simulation))).toEqual(['beacon better than the plain mean']);
  });

  it('stops within a tick when it is aborted', async () => {
    const simulation = small();
    const stop = new AbortController();
    await simulation.play(exactStream(), {
      ...pace,
      signal: stop.signal,
      onTick: () => {
        if (simulation.world.now === 5) stop.abort();
      },
    });
    expect(simulation.world.now).toBe(5);
  });

  it('masks who is absent, idles who charges, and parks who is not believed', async () => {
    const simulation = small();
    const { world, commander } = simulation;
    let sawParked = false;
    const exact = exactStream();
    await simulation.play((request) => {
      for (const robot of world.robots) {
        const i = robot.index;
        expect(request.agentMask![i]).toBe(world.isPresent(robot) ? 1 : 0);
        const free = world.takesOrders(robot) && !commander.faults.isFaulty(i);
        expect(request.assignment!.locks![i]).toBe(free ? -2 : -1);
        if (commander.faults.isFaulty(i) && world.isPresent(robot)) {
          sawParked = true;
          expect(commander.goals[i]).toBe(parked);
        }
      }
      return exact(request);
    }, pace);
    expect(sawParked).toBe(true);
  });
});

describe('the fault watch', () => {
  it('convicts after six flags in eight answers and not after five, and acquits after thirty clean ones', () => {
    const watch = new FaultWatch(2);
    const present = new Uint8Array([1, 1]);
    for (const flagged of [1, 1, 0, 1, 0, 1, 1]) watch.update(flagged === 1 ? [0] : [], present);
    expect(watch.isFaulty(0)).toBe(false);
    watch.update([0], present);
    expect(watch.isFaulty(0)).toBe(true);
    expect(watch.isFaulty(1)).toBe(false);
    for (let i = 0; i < 29; i += 1) watch.update([], present);
    expect(watch.isFaulty(0)).toBe(true);
    watch.update([], present);
    expect(watch.isFaulty(0)).toBe(false);
  });

  it('leaves the verdict on robots that took no part', () => {
    const watch = new FaultWatch(1);
    for (let i = 0; i < 8; i += 1) watch.update([0], new Uint8Array([1]));
    for (let i = 0; i < 100; i += 1) watch.update([], new Uint8Array([0]));
    expect(watch.isFaulty(0)).toBe(true);
  });
});

describe('the picture', () => {
  const look: Look = { columns: 120, rows: 40, colour: false, unicode: true };

  let shown: Moment;

  beforeAll(async () => {
    shown = { ...runOf(await played()), address: '127.0.0.1:50051' };
  });

  it('fills exactly the terminal, however small', () => {
    for (const [columns, rows] of [
      [120, 40],
      [80, 24],
      [60, 20],
      [40, 10],
      [12, 3],
      [300, 90],
    ] as const) {
      const lines = drawMoment(shown, { ...look, columns, rows });
      expect(lines).toHaveLength(rows);
      for (const line of lines) expect(line).toHaveLength(columns);
    }
  });

  it('shows found faulty robots, the beacon and the numbers', () => {
    const text = drawMoment(shown, look).join('\n');
    expect(text).toContain('X');
    expect(text).toMatch(/[◉⊕]/);
    expect(text).toMatch(/gap +0\.000 %/);
  });

  it('keeps to ASCII where the terminal cannot show more, and to no escape codes without colour', () => {
    const text = drawMoment(shown, { ...look, unicode: false }).join('');
    expect(text).toMatch(/^[\x20-\x7e]+$/);
  });

  it('uses colour only where it is wanted', () => {
    expect(drawMoment(shown, { ...look, colour: true }).join('')).toContain('\x1b[1;91mX');
    expect(wantsColour({ NO_COLOR: '1' })).toBe(false);
    expect(wantsColour({ NO_COLOR: '' })).toBe(true);
    expect(wantsUnicode({ LANG: 'C' })).toBe(false);
    expect(wantsUnicode({ LANG: 'en_GB.UTF-8' })).toBe(true);
  });

  it('has log lines with the gap and churn of every tick, and a summary that fits an ordinary terminal', () => {
    const [present, ticks] = logLines(shown, 3);
    expect(present).toMatch(/150 \/ 150 s .* faulty \d+ found .* gap 0\.000 % {2}churn [\d.]+ %/);
    expect(ticks).toMatch(/tick by tick, %: gap 0\.00 0\.00 0\.00; churn [\d.]+ [\d.]+ [\d.]+$/);
    for (const line of summaryLines({ ...shown, serverExit: null })) expect(line.length).toBeLessThanOrEqual(80);
  });

  it('cuts and pads lines by what is seen, not by escape codes', () => {
    expect(renderLine([span('abc', 'red'), span('def')], 4, true)).toBe('\x1b[1;91mabc\x1b[0md');
    expect(renderLine([span('ab', 'red')], 4, false)).toBe('ab  ');
  });
});

describe('the screen', () => {
  class FakeTerminal implements TerminalStream {
    columns = 20;
    rows = 4;
    writableNeedDrain = false;
    written = '';
    #resized: (() => void) | null = null;

    write(text: string): boolean {
      this.written += text;
      return true;
    }

    on(_event: 'resize', listener: () => void): void {
      this.#resized = listener;
    }

    off(): void {
      this.#resized = null;
    }

    resize(): void {
      this.#resized?.();
    }

    take(): string {
      const text = this.written;
      this.written = '';
      return text;
    }
  }

  it('writes only lines that changed, all of them after a resize, none while the terminal is behind', () => {
    const terminal = new FakeTerminal();
    const screen = new Screen(terminal);
    screen.draw(['one', 'two']);
    terminal.take();
    screen.draw(['one', 'TWO']);
    const second = terminal.take();
    expect(second).toContain('\x1b[2;1HTWO');
    expect(second).not.toContain('one');
    terminal.writableNeedDrain = true;
    screen.draw(['x', 'y']);
    expect(terminal.take()).toBe('');
    terminal.writableNeedDrain = false;
    terminal.resize();
    screen.draw(['one', 'TWO']);
    expect(terminal.take()).toContain('one');
  });

  it('gives the terminal back with its cursor, once', () => {
    const terminal = new FakeTerminal();
    const screen = new Screen(terminal);
    terminal.take();
    screen.close();
    expect(terminal.take()).toBe('\x1b[0m\x1b[?25h\x1b[?1049l');
    screen.close();
    screen.draw(['late']);
    terminal.resize();
    expect(terminal.take()).toBe('');
  });
});

describe('percentile', () => {
  it('is the smallest value that the share does not exceed', () => {
    const values = Array.from({ length: 100 }, (_, i) => 100 - i);
    expect([0.5, 0.95, 0.99, 1].map((quantile) => percentile(values, quantile))).toEqual([50, 95, 99, 100]);
    expect(percentile([], 0.5)).toBe(0);
  });
});
