/** The engine and bridge sections of the benchmark, short, on the device. Prints what they measured; nothing here asserts on time. */
import { spawn } from 'node:child_process';
import { expect, inject, it } from 'vitest';
import { renderText, type Report, type SectionResult } from '../../client/bench/report.js';

async function bench(flags: readonly string[]): Promise<Report> {
  const child = spawn(process.execPath, ['dist/client/cli.js', 'bench', '--json', ...flags], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  let progress = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (progress += chunk.toString()));
  const code = await new Promise((resolve) => child.once('close', resolve));
  expect(code, progress).toBe(0);
  return JSON.parse(output) as Report;
}

const section = ({ sections }: Report, name: string): SectionResult =>
  sections.find((each) => each.name === name) ?? expect.fail(`there is no section ${name}`);

it('measures every program on the device, and leaves none of its objects behind', { timeout: 600_000 }, async () => {
  const flags = ['--only', 'engine,bridge', '--rounds', '1', '--pjrt-plugin', inject('devicePlugin')];
  const report = await bench(flags);
  const [compared, stages] = section(report, 'engine').tables;
  for (const each of report.sections) console.log(`${each.method}\n\n${renderText(each)}`);
  expect(compared?.columns).toContain('XLA/ONNX');
  expect(compared?.rows).toHaveLength(18);
  expect(stages?.rows).toHaveLength(18);
  const numbers = [...(compared?.rows ?? []), ...(stages?.rows ?? [])]
    .flat()
    .filter((cell) => typeof cell !== 'string');
  expect(numbers.every(Number.isFinite)).toBe(true);
  const executions = section(report, 'bridge').tables[0]!;
  const live = executions.rows.map((row) => row[executions.columns.indexOf('live')]);
  expect(live.at(-1)).toBe(0);
});
