/** Command-line mistakes, and the numbers on a command line. */

/** The command was used wrongly; the message is one line for people. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'UsageError';
  }

  /** Runs `parse` (node:util's parseArgs) and makes what it throws a UsageError that names the command's help. */
  static from<T>(command: string, parse: () => T): T {
    try {
      return parse();
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      // parseArgs adds a second sentence of advice on `--`.
      const firstSentence = message.split('. ')[0] ?? message;
      throw new UsageError(`${firstSentence} (see tensor-consensus ${command} --help)`);
    }
  }
}

/** @throws UsageError */
export function wholeNumber(name: string, text: string, low: number, high: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= low && value <= high) return value;
  throw new UsageError(`${name}: expected a whole number from ${low} to ${high}, received '${text}'`);
}
