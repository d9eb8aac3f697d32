/** A full-screen picture on a terminal: only lines that changed are written, and the terminal is left as it was found. */

export interface TerminalStream {
  readonly columns?: number;
  readonly rows?: number;
  readonly writableNeedDrain: boolean;
  write(text: string): boolean;
  on(event: 'resize', listener: () => void): unknown;
  off(event: 'resize', listener: () => void): unknown;
}

const enter = '\x1b[?1049h\x1b[?25l\x1b[2J';
const leave = '\x1b[0m\x1b[?25h\x1b[?1049l';
/** Terminals that know synchronized output show a frame at once; the others ignore these. */
const beginFrame = '\x1b[?2026h';
const endFrame = '\x1b[?2026l';

export class Screen {
  readonly #stream: TerminalStream;
  #shown: string[] = [];
  #open = true;
  readonly #onResize = (): void => {
    this.#shown = [];
    if (this.#open) this.#stream.write('\x1b[2J');
  };

  constructor(stream: TerminalStream) {
    this.#stream = stream;
    stream.on('resize', this.#onResize);
    stream.write(enter);
  }

  get columns(): number {
    return this.#stream.columns ?? 80;
  }

  get rows(): number {
    return this.#stream.rows ?? 24;
  }

  /** Shows the lines from the top. A frame is left out where the terminal has not taken the one before. */
  draw(lines: readonly string[]): void {
    if (!this.#open || this.#stream.writableNeedDrain) return;
    let output = '';
    const count = Math.min(this.rows, Math.max(lines.length, this.#shown.length));
    for (let row = 0; row < count; row += 1) {
      const line = lines[row] ?? '';
      if (line !== this.#shown[row]) output += `\x1b[${row + 1};1H${line}\x1b[K`;
    }
    this.#shown = lines.slice(0, this.rows);
    if (output !== '') this.#stream.write(beginFrame + output + endFrame);
  }

  /** Gives the terminal back; closing twice is safe. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#stream.off('resize', this.#onResize);
    this.#stream.write(leave);
  }
}
