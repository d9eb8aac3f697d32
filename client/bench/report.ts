/** What a benchmark section found, and its renderings: text for a terminal, Markdown for docs/benchmarks.md. */
import { cpus, platform, release, totalmem } from 'node:os';
import type { LinePlot } from './line-plot.js';

export type Cell = string | number;

export interface Table {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
}

/** A figure that the project promises, beside the one measured. */
export interface Check {
  readonly what: string;
  readonly target: string;
  readonly measured: string;
  readonly met: boolean;
}

export interface SectionResult {
  readonly name: string;
  readonly title: string;
  /** What was measured and how, in a sentence or two. */
  readonly method: string;
  readonly tables: readonly Table[];
  readonly checks: readonly Check[];
  /** Written beside the page, as `plotFile` says. */
  readonly plot?: LinePlot;
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly system: string;
  readonly node: string;
  readonly date: string;
}

export interface Report {
  readonly machine: Machine;
  readonly command: string;
  readonly loadGenerator: string;
  readonly sections: readonly SectionResult[];
}

export function thisMachine(): Machine {
  const processors = cpus();
  return {
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryGb: Math.round(totalmem() / 1024 ** 3),
    system: `${platform()} ${release()} ${process.arch}`,
    node: process.version,
    date: new Date().toISOString().slice(0, 10),
  };
}

/** Three significant digits, without exponents; whole numbers as they are, and above 1000. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return '-';
  if (Number.isInteger(value) || Math.abs(value) >= 1000) return value.toFixed(0);
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(4, digits));
}

function cellText(cell: Cell): string {
  return typeof cell === 'number' ? formatNumber(cell) : cell;
}

/** A check of `measured` against a bound on its good side. */
export function atMost(what: string, limit: number, measured: number, unit: string): Check {
  return checkOf(what, `at most ${formatNumber(limit)} ${unit}`, measured, unit, measured <= limit);
}

export function atLeast(what: string, limit: number, measured: number, unit: string): Check {
  return checkOf(what, `at least ${formatNumber(limit)} ${unit}`, measured, unit, measured >= limit);
}

function checkOf(what: string, target: string, measured: number, unit: string, met: boolean): Check {
  return { what, target: target.trim(), measured: `${formatNumber(measured)} ${unit}`.trim(), met };
}

const checkColumns = ['figure', 'target', 'measured', ''] as const;

function checkTable(checks: readonly Check[]): Table {
  return {
    columns: checkColumns,
    rows: checks.map(({ what, target, measured, met }) => [what, target, measured, met ? 'met' : 'MISSED']),
  };
}

function textTable({ columns, rows }: Table): string {
  const cells = [columns, ...rows].map((row) => row.map(cellText));
  const widths = columns.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  const isNumeric = columns.map((_, column) => rows.every((row) => typeof row[column] === 'number'));
  const lines = cells.map((row) =>
    row
      .map((text, column) => (isNumeric[column] ? text.padStart(widths[column]!) : text.padEnd(widths[column]!)))
      .join('  ')
      .trimEnd(),
  );
  return lines.map((line) => `  ${line}`).join('\n');
}

function markdownTable({ columns, rows }: Table): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(columns), line(columns.map(() => '---')), ...rows.map((row) => line(row.map(cellText)))].join('\n');
}

/** One section for a terminal. Without tables its method says why there are none. */
export function renderText(section: SectionResult): string {
  const parts = [section.title, ...section.tables.map(textTable)];
  if (section.tables.length === 0) parts.push(`  ${section.method}`);
  if (section.checks.length > 0) parts.push(textTable(checkTable(section.checks)));
  return `${parts.join('\n\n')}\n`;
}

/** Of a section's plot, in the folder of the page. */
export function plotFile(section: string): string {
  return `benchmarks-${section}.svg`;
}

/** The page docs/benchmarks.md. */
export function renderMarkdown({ machine, command, loadGenerator, sections }: Report): string {
  const checks = sections.flatMap((section) => section.checks);
  const parts = [
    '# Benchmarks',
    `<!-- Written by \`${command}\`; do not edit. -->`,
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB, ${machine.system}, Node ${machine.node}, ${machine.date}. ` +
      `Load generator: ${loadGenerator}. Clients, load generator and servers share the machine, so the ratios taken side by side ` +
      'mean more than the absolute figures.',
    `To measure again: \`${command}\` (\`--only\` for single sections, \`--help\` for the rest).`,
  ];
  if (checks.length > 0) parts.push('## Figures to reach', markdownTable(checkTable(checks)));
  for (const { name, title, method, tables, plot } of sections) {
    parts.push(`## ${title}`, method, ...tables.map(markdownTable));
    if (plot !== undefined) parts.push(`![${plot.title}](${plotFile(name)})`);
  }
  parts.push(
    '## The scheduler in virtual time',
    'Goodput against load beside a fixed delay, as common model servers batch, and a bound that nobody beats; how, and the figures: [schedule.md](schedule.md).',
    '![goodput against load in virtual time](schedule.svg)',
  );
  return `${parts.join('\n\n')}\n`;
}
