/** `npm run chaos`: every scenario against real server processes. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { cpuPlugin } from './plugin.js';
import { recordSection, whereAndWhen } from './record.js';
import type { Scenario } from './scenario.js';
import { scenarios } from './scenarios.js';
import { killAll } from './server.js';

interface Outcome {
  readonly scenario: Scenario;
  readonly seen: string;
  readonly checked: number;
  readonly wrong: number;
  readonly failed: boolean;
  readonly seconds: number;
}

/** Never rejects: what went wrong is in the outcome. Leaves no process and no folder behind. */
export async function runScenario(scenario: Scenario, plugin: string | null): Promise<Outcome> {
  const folder = mkdtempSync(join(tmpdir(), 'chaos-'));
  const startMs = performance.now();
  const seconds = (): number => (performance.now() - startMs) / 1000;
  try {
    const { seen, tally } = await scenario.run({ folder, plugin });
    const [checked, wrong] = [tally.right + tally.wrong.length, tally.wrong.length];
    const text = `${seen} (${tally.toString()})`;
    return { scenario, seen: text, checked, wrong, failed: wrong > 0 || checked === 0, seconds: seconds() };
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    return { scenario, seen: text, checked: 0, wrong: 0, failed: true, seconds: seconds() };
  } finally {
    await killAll();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The exit code: 0 where every promise held and no answer was wrong. */
export async function main(parameters: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...parameters],
    options: { only: { type: 'string', default: '' }, record: { type: 'boolean', default: false } },
  });
  const plugin = cpuPlugin();
  if (plugin === null)
    process.stdout.write('without the PJRT plugin for the CPU: its scenarios run on ONNX Runtime or are left out\n');
  const outcomes: Outcome[] = [];
  for (const scenario of scenarios(plugin).filter(({ name }) => name.includes(values.only))) {
    const outcome = await runScenario(scenario, plugin);
    outcomes.push(outcome);
    process.stdout.write(
      `${outcome.failed ? 'FAILED' : 'ok'}  ${scenario.name}\n    promised: ${scenario.promise}\n    seen: ${outcome.seen}\n` +
        `    answers checked: ${outcome.checked}, wrong: ${outcome.wrong}; ${outcome.seconds.toFixed(0)} s\n`,
    );
  }
  const sum = (count: (outcome: Outcome) => number): number => outcomes.reduce((total, each) => total + count(each), 0);
  const failures = outcomes.filter(({ failed }) => failed).length;
  process.stdout.write(
    `${outcomes.length} scenarios, ${failures} failed; ${sum(({ checked }) => checked)} answers checked, ${sum(({ wrong }) => wrong)} wrong\n`,
  );
  if (values.record) recordSection('chaos', textOf(outcomes));
  return failures === 0 && outcomes.length > 0 ? 0 : 1;
}

function textOf(outcomes: readonly Outcome[]): string {
  const checked = outcomes.reduce((sum, outcome) => sum + outcome.checked, 0);
  const wrong = outcomes.reduce((sum, outcome) => sum + outcome.wrong, 0);
  const rows = outcomes.map(
    ({ scenario, seen, failed }) =>
      `| ${scenario.name} | ${scenario.promise} | ${failed ? '**broken**: ' : ''}${seen.replaceAll('|', '/').replaceAll('\n', ' ')} |`,
  );
  return `${checked} answers checked, ${wrong} wrong (${whereAndWhen()}). The answers are of well-behaved calls beside and
after each fault: small assignments against the best of all, plans and consensus against the executable specification.

| fault | promised | seen |
|---|---|---|
${rows.join('\n')}`;
}
