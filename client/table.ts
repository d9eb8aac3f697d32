/** Aligned columns for terminals. */

/** Numbers are right-aligned: columns whose every cell below the heading looks like one. */
const numeric = /^-?[\d.]+(e[+-]?\d+)?( ?%)?$/;

/** Lines without trailing spaces, the heading first. Rows may be shorter than the heading. */
export function tableLines(heading: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const widths = heading.map((name, column) => Math.max(name.length, ...rows.map((row) => (row[column] ?? '').length)));
  const right = heading.map((_, column) => rows.length > 0 && rows.every((row) => numeric.test(row[column] ?? '0')));
  const line = (cells: readonly string[]): string =>
    widths
      .map((width, column) =>
        right[column] === true ? (cells[column] ?? '').padStart(width) : (cells[column] ?? '').padEnd(width),
      )
      .join('  ')
      .trimEnd();
  return [line(heading), ...rows.map(line)];
}
