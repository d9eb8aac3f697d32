/** What a PromQL expression reads: its selectors, and the labels it groups and joins by. No parser of the language: functions and operators are passed over. */

export interface Matcher {
  readonly label: string;
  readonly operator: '=' | '!=' | '=~' | '!~';
  readonly value: string;
}

export interface Selector {
  readonly metric: string;
  readonly matchers: readonly Matcher[];
  /** As it stands in the expression, without range and offset. */
  readonly text: string;
}

export interface Reads {
  readonly selectors: readonly Selector[];
  readonly groupedBy: readonly string[];
}

const tokens =
  /\s+|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\[[^\]]*\]|[a-zA-Z_:][\w:]*|\d[\w.]*(?:e[-+]?\d+)?|=~|!~|!=|==|>=|<=|[-+*/%^<>=(){},]/gy;
const identifier = /^[a-zA-Z_:]/;
const listers = new Set(['by', 'without', 'on', 'ignoring', 'group_left', 'group_right']);
const operators = new Set(['and', 'or', 'unless', 'offset', 'bool', 'inf', 'nan']);
const aggregators = new Set('sum min max avg count stddev stdvar topk bottomk quantile count_values group'.split(' '));

/** Throws where the expression holds what is no token of the language. */
export function readsOf(expression: string): Reads {
  const all = tokensOf(expression);
  const selectors: Selector[] = [];
  const groupedBy: string[] = [];
  for (let at = 0; at < all.length; at++) {
    const token = all[at]!;
    if (!identifier.test(token) || operators.has(token.toLowerCase())) continue;
    if (listers.has(token)) {
      for (at += 2; all[at] !== ')' && at < all.length; at++) if (all[at] !== ',') groupedBy.push(all[at]!);
    } else if (!aggregators.has(token) && all[at + 1] !== '(') {
      const end = all[at + 1] === '{' ? all.indexOf('}', at) : at;
      if (end === -1) throw new Error(`${expression}: expected }`);
      const inside = all.slice(at + 2, Math.max(end, at + 2));
      selectors.push({ metric: token, matchers: matchersOf(inside), text: all.slice(at, end + 1).join('') });
      at = end;
    }
  }
  return { selectors, groupedBy };
}

function tokensOf(expression: string): string[] {
  tokens.lastIndex = 0;
  const found: string[] = [];
  while (tokens.lastIndex < expression.length) {
    const from = tokens.lastIndex;
    const match = tokens.exec(expression);
    if (match === null) throw new Error(`${expression}: no PromQL from ${expression.slice(from, from + 20)}`);
    if (match[0].trim() !== '') found.push(match[0]);
  }
  return found;
}

function matchersOf(inside: readonly string[]): Matcher[] {
  const matchers: Matcher[] = [];
  for (let at = 0; at < inside.length; at += 4) {
    const [label, operator, value] = inside.slice(at, at + 3);
    matchers.push({ label: label!, operator: operator as Matcher['operator'], value: value!.slice(1, -1) });
  }
  return matchers;
}
