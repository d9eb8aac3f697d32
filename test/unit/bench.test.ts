/** The parts of the benchmarks that can be wrong without anybody noticing. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import protobuf from 'protobufjs';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { benchPlugin } from '../../client/bench/engines.js';
import { findGhz, isNewEnough, usableGhz } from '../../client/bench/ghz.js';
import { runBench } from '../../client/bench/main.js';
import { decodeResponse, isStreamError, protoFile, sampleRequest } from '../../client/bench/messages.js';
import { benchScript, PythonProcess, whyNoPython } from '../../client/bench/python.js';
import { normalArray } from '../../client/bench/random-states.js';
import { renderLinePlot } from '../../client/bench/line-plot.js';
import { atLeast, atMost, formatNumber, plotFile, renderMarkdown, renderText } from '../../client/bench/report.js';
import { median, percentile } from '../../client/bench/statistics.js';
import { threadTimer } from '../../client/bench/thread-time.js';
import { cases, Workload } from '../../client/bench/workload.js';
import { programSignature, shapeIn } from '../../src/operators/signature.js';

describe('statistics', () => {
  test('the median of an even sample is the mean of its middle values', () => {
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(median([3, 1, 2])).toBe(2);
    expect(median([])).toBeNaN();
  });

  test('a percentile is a value of the sample, by nearest rank', () => {
    const sample = Array.from({ length: 100 }, (_, index) => 100 - index);
    expect(percentile(sample, 0.5)).toBe(50);
    expect(percentile(sample, 0.99)).toBe(99);
    expect(percentile(sample, 1)).toBe(100);
    expect(percentile([7], 0)).toBe(7);
  });
});

describe('requests', () => {
  const shape = { policy: 'reference', agents: 5, tasks: 4, width: 64, forms: ['TOP_K'], seed: 3 } as const;

  test('equal shapes give equal bytes, another seed gives others', () => {
    expect(sampleRequest(shape).equals(sampleRequest(shape))).toBe(true);
    expect(sampleRequest(shape).equals(sampleRequest({ ...shape, seed: 4 }))).toBe(false);
  });

  test('normal states have mean 0 and variance 1', () => {
    const states = normalArray(20_000, 5);
    const mean = states.reduce((sum, value) => sum + value, 0) / states.length;
    const variance = states.reduce((sum, value) => sum + (value - mean) ** 2, 0) / states.length;
    expect(Math.abs(mean)).toBeLessThan(0.03);
    expect(Math.abs(variance - 1)).toBeLessThan(0.05);
  });
});

describe('answers', () => {
  const type = protobuf.loadSync(protoFile).lookupType('tensorconsensus.v1.CoordinateResponse');
  const encode = (answer: Record<string, unknown>): Buffer =>
    Buffer.from(type.encode(type.fromObject(answer)).finish());

  test('one with an error is told from one without, whatever else it holds', () => {
    const assignment = { taskOfAgent: [3, -1, 7], objective: 2.5, warmStart: Buffer.from([0x3a, 0x3a, 0x3a]) };
    expect(isStreamError(encode({ requestId: 'a', assignment, rejectedAgents: [7] }))).toBe(false);
    expect(isStreamError(encode({ requestId: 'a', error: { code: 4, reason: 'SUPERSEDED' } }))).toBe(true);
    expect(isStreamError(encode({ error: {} }))).toBe(true);
    expect(isStreamError(Buffer.alloc(0))).toBe(false);
  });

  test('one is decoded with defaults for what was not sent', () => {
    const answer = decodeResponse(encode({ assignment: { taskOfAgent: [1, -1] } }));
    expect(answer).toMatchObject({ assignment: { taskOfAgent: [1, -1], warmStartUsed: false } });
    expect(answer['error']).toBeNull();
  });
});

describe('ghz', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'bench-test-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  function fakeGhz(prints: string): string {
    const path = join(folder, 'ghz');
    writeFileSync(path, `#!/bin/sh\n${prints}\n`);
    chmodSync(path, 0o755);
    return path;
  }
  const environment = () => ({ PATH: ['/nowhere', folder].join(delimiter), GOPATH: '/nowhere' });

  test('versions are compared part by part', () => {
    expect(isNewEnough('0.121.0')).toBe(true);
    expect(isNewEnough('0.122.1')).toBe(true);
    expect(isNewEnough('1.0.0')).toBe(true);
    expect(isNewEnough('0.120.99')).toBe(false);
    expect(isNewEnough('0.9.0')).toBe(false);
  });

  test('a missing ghz is reported with how to get it', async () => {
    expect(findGhz(environment())).toBeNull();
    expect(await usableGhz(environment())).toMatchObject({
      problem: expect.stringContaining('go install github.com/bojand/ghz/cmd/ghz@v0.121.0') as string,
    });
  });

  test('an old ghz is refused with its version', async () => {
    fakeGhz('echo v0.95.0');
    expect(await usableGhz(environment())).toMatchObject({ problem: expect.stringContaining('0.95.0') as string });
  });

  test('a release is taken by what it prints, a go install by the build information in the binary', async () => {
    const path = fakeGhz('echo v0.121.0 >&2');
    expect(await usableGhz(environment())).toEqual({ path });
    fakeGhz('echo dev\nexit 0\n#mod\tgithub.com/bojand/ghz\tv0.121.0\th1:x');
    expect(await usableGhz(environment())).toEqual({ path });
    fakeGhz('echo dev');
    expect(await usableGhz(environment())).toHaveProperty('problem');
  });
});

describe('what is compared with', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'bench-test-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  function script(name: string, body: string): string {
    const path = join(folder, name);
    writeFileSync(path, `#!/bin/sh\n${body}\n`);
    chmodSync(path, 0o755);
    return path;
  }

  test('a Python that lacks a package is named with what to install', async () => {
    const python = script('python', 'echo jax, grpcio');
    const why = await whyNoPython(python, benchScript('python_server.py'), ['jax', 'numpy', 'grpcio']);
    expect(why).toBe(
      `${python} lacks jax, grpcio (name another Python with --python or TC_BENCH_PYTHON; \`pip install jax numpy grpcio\`)`,
    );
  });

  test('a Python that has everything is used, one that is not there is not', async () => {
    expect(await whyNoPython(script('python', 'echo'), benchScript('jax_operators.py'), ['jax'])).toBeNull();
    const missing = join(folder, 'no-such-python');
    expect(await whyNoPython(missing, benchScript('jax_operators.py'), ['jax'])).toContain(missing);
  });

  test('a script that is not in the package is said to be missing', async () => {
    const path = benchScript('no-such-script.py');
    expect(await whyNoPython(script('python', 'echo'), path, [])).toBe(`there is no ${path}`);
  });

  test('a script answers one line for each command, and its last words are told when it ends', async () => {
    const parrot = script(
      'parrot',
      'echo \'{"ready":1}\'; read line; echo "$line"; read line; echo "no more" >&2; exit 3',
    );
    const child = new PythonProcess(parrot, []);
    try {
      expect(await child.read()).toEqual({ ready: 1 });
      expect(await child.ask({ do: 'this' })).toEqual({ do: 'this' });
      await expect(child.ask({ do: 'that' })).rejects.toThrow(/parrot ended:\nno more/);
      await expect(child.read()).rejects.toThrow('ended');
    } finally {
      await child.stop();
    }
  });

  test('a plugin that is named must be there; without a name it is the installed one, or none', () => {
    expect(() => benchPlugin(join(folder, 'plugin.so'), {})).toThrow(/--pjrt-plugin: there is no file .*plugin\.so/);
    const named = script('plugin.so', '');
    expect(benchPlugin(named, {})).toBe(named);
    expect(benchPlugin('', { TC_PLUGIN_DIR: folder })).toBeNull();
  });
});

describe('workloads', () => {
  test('every case fills its bucket and differs from slot to slot', () => {
    for (const each of cases) {
      const workload = new Workload(each, { batch: 2, count: 5, bucket: 16 });
      const signature = programSignature(workload.spec);
      const inputs = workload.inputs();
      for (const [index, input] of signature.inputs.entries()) {
        const size = shapeIn(input, workload.request.bucket).reduce((product, axis) => product * axis, 1);
        expect(inputs[index], `${each.name}: ${input.name}`).toHaveLength(size);
      }
      const states = inputs[signature.inputs.findIndex(({ name }) => name === 'agents')]!;
      expect(states.subarray(0, 320)).not.toEqual(states.subarray(1024, 1344));
    }
  });

  test('the scaling and the log form are both measured', () => {
    const size = { batch: 1, count: 100, bucket: 128 };
    const forms = cases.map((each) => new Workload(each, size).spec.soft?.form);
    expect(forms).toContain('scaling');
    expect(forms).toContain('log');
  });
});

test("a thread's CPU time grows with its own work", () => {
  const read = threadTimer();
  if (read === null) {
    expect(process.platform).not.toBe('linux');
    return;
  }
  const before = read();
  let sum = 0;
  for (let i = 0; i < 2e6; i++) sum += Math.sqrt(i);
  expect(sum).toBeGreaterThan(0);
  expect(read()).toBeGreaterThan(before);
});

describe('report', () => {
  const section = {
    name: 'one',
    title: 'One thing',
    method: 'Measured.',
    tables: [{ columns: ['what', 'ms'], rows: [['a', 1.23456] as const, ['b', 1234.5] as const] }],
    checks: [atMost('latency', 2, 1.5, 'ms'), atLeast('ratio', 0.35, 0.2, 'of it')],
  };
  const machine = { cpu: 'C', cores: 2, memoryGb: 4, system: 's', node: 'v1', date: '2026-01-01' };

  test('numbers keep three digits and never an exponent', () => {
    expect([0, 0.00123, 0.35, 1.23456, 12.345, 123.45, 12345.6, Number.NaN].map(formatNumber)).toEqual([
      '0',
      '0.0012',
      '0.350',
      '1.23',
      '12.3',
      '123',
      '12346',
      '-',
    ]);
  });

  test('a section that was left out says why, in text and in Markdown', () => {
    const leftOut = { name: 'two', title: 'Another', method: 'Left out: no such thing.', tables: [], checks: [] };
    expect(renderText(leftOut)).toBe('Another\n\n  Left out: no such thing.\n');
    const markdown = renderMarkdown({ machine, command: 'c', loadGenerator: 'g', sections: [leftOut] });
    expect(markdown).toContain('## Another\n\nLeft out: no such thing.\n');
  });

  test('a section with a plot shows it on the page, from the file beside it', () => {
    const plotted = { ...section, plot: { title: 'a plot', xLabel: 'x', mostX: 1, lines: [], panels: [] } };
    const markdown = renderMarkdown({ machine, command: 'c', loadGenerator: 'g', sections: [plotted] });
    expect(markdown).toContain(`![a plot](${plotFile(section.name)})`);
  });

  test('a missed figure is shown as missed, in text and in Markdown', () => {
    const markdown = renderMarkdown({ machine, command: 'c', loadGenerator: 'g', sections: [section] });
    expect(markdown).toContain('| latency | at most 2 ms | 1.50 ms | met |');
    expect(markdown).toContain('| ratio | at least 0.350 of it | 0.200 of it | MISSED |');
    expect(markdown).toContain('C, 2 cores, 4 GB');
    expect(renderText(section)).toMatch(/ratio\s+at least 0\.350 of it\s+0\.200 of it\s+MISSED/);
  });
});

describe('a line plot', () => {
  const plotOf = (points: readonly (readonly [number, number])[]): string =>
    renderLinePlot({
      title: 't',
      xLabel: 'x',
      mostX: 4,
      lines: [{ label: 'l', colour: '#123456', dashes: '' }],
      panels: [{ title: 'p', yLabel: 'y', mostY: 10, yStep: 5, points: [points] }],
    });
  const dots = (svg: string): number[][] =>
    [...svg.matchAll(/<circle cx="([\d.]+)" cy="([\d.]+)"/g)].map(([, x, y]) => [Number(x), Number(y)]);

  test('has a dot at every point, to scale from the left and the bottom', () => {
    const [zero, half, most] = dots(plotOf([[0, 0], [2, 5], [4, 10]])) as [number[], number[], number[]]; // prettier-ignore
    expect(half).toEqual([(zero[0]! + most[0]!) / 2, (zero[1]! + most[1]!) / 2]);
    expect(most[0]).toBeGreaterThan(zero[0]!);
    expect(most[1]).toBeLessThan(zero[1]!);
  });

  test('ends where it leaves the panel, and leaves out what is not a number', () => {
    const svg = plotOf([[1, 1], [2, NaN], [3, 3], [4, 11]]); // prettier-ignore
    expect(dots(svg)).toHaveLength(2);
    expect(svg).not.toContain('NaN');
    expect(dots(plotOf([[1, 11]]))).toHaveLength(0);
  });
});

test.each([
  ['--only', 'no-such'],
  ['--pjrt-plugin', '/no/such/plugin.so'],
  ['--rounds', '0'],
  ['--seconds', 'x'],
  ['--bogus'],
])('bench %s %s is refused with one line and exit code 2', async (...argv) => {
  const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  try {
    expect(await runBench(argv)).toBe(2);
    expect(write.mock.calls.map(([text]) => text)).toEqual([expect.stringMatching(/^bench: [^\n]+\n$/)]);
  } finally {
    write.mockRestore();
  }
});
