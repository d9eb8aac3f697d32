/** Text with colours as data: widths are counted before any escape code is written. */

export type Style = 'plain' | 'dim' | 'bold' | 'red' | 'green' | 'yellow' | 'blue' | 'magenta' | 'cyan' | 'white';

export interface Span {
  readonly text: string;
  readonly style: Style;
}

const codes: Readonly<Record<Style, string>> = {
  plain: '',
  dim: '\x1b[90m',
  bold: '\x1b[1m',
  red: '\x1b[1;91m',
  green: '\x1b[92m',
  yellow: '\x1b[93m',
  blue: '\x1b[94m',
  magenta: '\x1b[1;95m',
  cyan: '\x1b[96m',
  white: '\x1b[1;97m',
};

export function span(text: string, style: Style = 'plain'): Span {
  return { text, style };
}

/** One line of at most `width` characters (all of ours are one column wide), padded to it. */
export function renderLine(spans: readonly Span[], width: number, colour: boolean): string {
  let left = width;
  let line = '';
  for (const { text, style } of spans) {
    const shown = text.slice(0, left);
    left -= shown.length;
    line += colour && codes[style] !== '' && shown !== '' ? `${codes[style]}${shown}\x1b[0m` : shown;
  }
  return line + ' '.repeat(left);
}

/** NO_COLOR as no-color.org has it: set and not empty means none. */
export function wantsColour(env: Readonly<Record<string, string | undefined>>): boolean {
  return (env.NO_COLOR ?? '') === '' && env.TERM !== 'dumb';
}

/** Whether the terminal's locale can show more than ASCII. */
export function wantsUnicode(env: Readonly<Record<string, string | undefined>>): boolean {
  const locale = env.LC_ALL ?? env.LC_CTYPE ?? env.LANG ?? '';
  return /utf-?8/i.test(locale) || locale === '';
}
