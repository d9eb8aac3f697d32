/** docs/survival.md: a page of sections, each written by the command that measured it. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../../src/package-root.js';

/** In the order of the page. */
const sections = {
  chaos: { title: 'Faults', command: 'npm run chaos -- --record' },
  soak: { title: 'Soak', command: 'npm run soak -- --minutes 5 --record' },
  fuzz: { title: 'Fuzzing', command: 'npm run fuzz -- --seconds 1200 --record' },
} as const;

export type SectionName = keyof typeof sections;

const page = join(packageRoot, 'docs', 'survival.md');
const preface = `# What the server survives

What was promised and what was seen when it was killed, cut off, flooded, lied to and left running. Every section is written by the command
that it names; a short part of each runs in CI (\`test/service/chaos.test.ts\`, \`test/unit/fuzz-corpus.test.ts\`).
`;

/** Date, processor, cores, Node and how much wanted to run in the last minutes, as every record of a measurement says them. */
export function whereAndWhen(): string {
  const model = cpus()[0]?.model.trim() ?? 'unknown processor';
  const machine = `${model}, ${availableParallelism()} cores, Node ${process.version}`;
  return `${new Date().toISOString().slice(0, 10)}, ${machine}, load average ${loadavg()[1]!.toFixed(0)}`;
}

/** Replaces a section's text (Markdown below its heading) and leaves the others as they are. */
export function recordSection(name: SectionName, text: string): void {
  const before = existsSync(page) ? readFileSync(page, 'utf8') : '';
  const bodies = (Object.keys(sections) as SectionName[]).map((each) => {
    const { title, command } = sections[each];
    const body = each === name ? text.trim() : bodyIn(before, title);
    return body === '' ? '' : `\n## ${title}\n\n${each === name ? `\`${command}\`: ${body}` : body}\n`;
  });
  writeFileSync(page, preface + bodies.join(''));
}

/** What stands between a heading and the next one. */
function bodyIn(text: string, title: string): string {
  const start = text.indexOf(`\n## ${title}\n`);
  if (start === -1) return '';
  const from = start + `\n## ${title}\n`.length;
  const next = text.indexOf('\n## ', from);
  return text.slice(from, next === -1 ? text.length : next).trim();
}
