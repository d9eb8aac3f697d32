/** How an install's progress is told: one line that is rewritten on a terminal, a line per phase and quarter of the download elsewhere. */
import type { InstallProgress } from './install.js';

const verbs = { download: 'downloading', unpack: 'unpacking', verify: 'verifying' } as const;

export function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}

export interface ProgressLines {
  show(progress: InstallProgress): void;
  /** Takes the rewritten line away, so that what follows starts on a clean one. */
  clear(): void;
}

export function progressLines(name: string, isTerminal: boolean, write: (text: string) => void): ProgressLines {
  let phase = '';
  let quarter = 0;
  return {
    show({ phase: next, doneBytes, totalBytes }) {
      const share = totalBytes === 0 ? 1 : doneBytes / totalBytes;
      const text = `${name}: ${verbs[next]} ${Math.round(doneBytes / 1e6)} of ${megabytes(totalBytes)} (${Math.floor(100 * share)}%)`;
      const nextQuarter = next === 'download' ? Math.floor(4 * share) : 0;
      if (isTerminal) write(`\r\u001b[2K${text}`);
      else if (next !== phase || nextQuarter > quarter) write(`${text}\n`);
      phase = next;
      quarter = nextQuarter;
    },
    clear() {
      if (isTerminal && phase !== '') write('\r\u001b[2K');
    },
  };
}
