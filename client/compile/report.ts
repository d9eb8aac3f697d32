/** What `tensor-consensus compile` writes: report.json for programs, report.md for people. */
import { bucketName } from '../../src/operators/signature.js';
import type { CompiledFacts } from './messages.js';
import type { PlannedProgram } from './plan.js';
import type { CompileFailure, CompileOutcome } from './run-compiler.js';

export type ReportedProgram = Omit<PlannedProgram, 'spec'> & CompiledFacts & { readonly weightBytes: number };

export interface CompileReport {
  readonly topology: string;
  /** Of one device; null where the plugin named none. */
  readonly device: string | null;
  readonly chips: number;
  readonly plugin: { readonly path: string; readonly platformVersion: string | null };
  /** Whether it was stopped before the end. */
  readonly interrupted: boolean;
  /** In the order of the plan. */
  readonly programs: readonly ReportedProgram[];
  readonly failures: readonly CompileFailure[];
}

export function makeReport(
  plan: readonly (PlannedProgram & { readonly weightBytes: number })[],
  outcome: CompileOutcome,
  about: { readonly topology: string; readonly pluginPath: string; readonly interrupted: boolean },
): CompileReport {
  const compiled = new Map(outcome.compiled.map((facts) => [facts.name, facts]));
  return {
    topology: about.topology,
    device: outcome.devices?.kinds[0] ?? null,
    chips: outcome.devices?.kinds.length ?? 0,
    plugin: { path: about.pluginPath, platformVersion: outcome.devices?.platformVersion ?? null },
    interrupted: about.interrupted,
    programs: plan.flatMap(({ name, policy, forms, bucket, partitions, weightBytes }) => {
      const facts = compiled.get(name);
      return facts === undefined ? [] : [{ policy, forms, bucket, partitions, weightBytes, ...facts }];
    }),
    failures: outcome.failed,
  };
}

/** Of XLA's time over all turns of its loops, or what it gives where loops were not looked at; null where it estimates no time. */
export function runSeconds({ cost, wholeCost }: CompiledFacts): number | null {
  return (wholeCost ?? cost).seconds;
}

export const reportHeading = [
  'program',
  'bucket',
  'chips',
  'Mflop',
  'MB accessed',
  'estimate us',
  'loops once us',
  'arguments MB',
  'outputs MB',
  'temp MB',
  'peak MB',
  'code MB',
  'compile s',
] as const;

/** Cells under `reportHeading`. */
export function reportRow(program: ReportedProgram): string[] {
  const { cost, wholeCost } = program;
  const whole = wholeCost ?? cost;
  return [
    `${program.policy} ${program.forms.join(' ')}`,
    bucketName(program.bucket),
    String(program.partitions),
    figure(whole.flops / 1e6),
    figure(whole.bytesAccessed / 1e6),
    wholeCost === null ? '-' : microseconds(wholeCost.seconds),
    microseconds(cost.seconds),
    figure(program.argumentBytes / 1e6),
    figure(program.outputBytes / 1e6),
    figure(program.tempBytes / 1e6),
    figure(program.peakBytes / 1e6),
    figure(program.codeBytes / 1e6),
    program.compileSeconds.toFixed(1),
  ];
}

export function markdownTable(heading: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const numeric = heading.map((_, column) => rows.every((row) => /^(-|[\d.]+)$/.test(row[column] ?? '')));
  return [line(heading), line(numeric.map((right) => (right ? '---:' : '---'))), ...rows.map(line)];
}

export function reportPage(report: CompileReport): string {
  const { topology, chips, device, plugin, programs, failures, interrupted } = report;
  const untimed = programs.some(({ cost, wholeCost }) => (wholeCost ?? cost).untimed > 0);
  return [
    `# Compiled for ${topology}`,
    '',
    `${programs.length} programs for ${chips} x ${device ?? 'no device'}, by ${(plugin.platformVersion ?? 'an unknown build').replace(/\s+/g, ' ')}.`,
    'Nothing was run: times are XLA\'s own estimates. It counts the body of a loop once ("loops once"); "estimate" has every loop at its turns.',
    ...(untimed ? ['XLA does not time every operation; those it does not are missing from the times.'] : []),
    ...(interrupted ? ['', '**Stopped before the end:** programs that are missing here were not compiled.'] : []),
    '',
    ...markdownTable(reportHeading, programs.map(reportRow)),
    ...(failures.length === 0
      ? []
      : ['', '## Failures', '', ...failures.map(({ name, why }) => `- \`${name}\`: ${why}`)]),
    '',
  ].join('\n');
}

/** Three significant digits, without an exponent. */
export function figure(value: number): string {
  if (value === 0) return '0';
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(digits, 6));
}

function microseconds(seconds: number | null): string {
  return seconds === null ? '-' : figure(seconds * 1e6);
}
