/** What a benchmark section is given. */
import type { LoadGenerator } from './load-generator.js';
import type { SectionResult } from './report.js';

export interface BenchContext {
  /** Repeats of what is compared; medians are reported. */
  readonly rounds: number;
  /** Length of one measurement under load. */
  readonly seconds: number;
  /** The Python that runs what is compared with, if it has what that needs. */
  readonly python: string;
  /** For request and answer files; removed when the benchmark ends. */
  readonly folder: string;
  readonly generator: LoadGenerator;
  /** Of the PJRT plugin to measure; null where there is none, and what needs it is left out in words. */
  readonly pluginPath: string | null;
  /** Progress, for people. */
  progress(line: string): void;
}

export type Section = (context: BenchContext) => Promise<SectionResult>;
