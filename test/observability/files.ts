/** The dashboards, rules and rule tests under deploy/, as they are read by Grafana, Prometheus and promtool. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { packageRoot } from '../../src/package-root.js';

export interface Rule {
  readonly record?: string;
  readonly alert?: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface RuleFile {
  readonly groups: readonly { readonly name: string; interval?: string; readonly rules: readonly Rule[] }[];
}

export interface RuleTests {
  readonly rule_files: readonly string[];
  readonly tests: readonly {
    readonly name: string;
    readonly promql_expr_test: readonly { readonly expr: string; readonly exp_samples: readonly unknown[] }[];
  }[];
}

interface Source {
  readonly uid?: string;
}

export interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly datasource?: Source;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string } };
  readonly targets?: readonly { readonly refId: string; readonly expr: string; readonly datasource: Source }[];
}

export interface Dashboard {
  readonly uid: string;
  readonly title: string;
  readonly panels: readonly Panel[];
  readonly annotations: { readonly list: readonly { readonly name: string; readonly expr: string }[] };
  readonly templating: {
    readonly list: readonly {
      readonly name: string;
      readonly type: string;
      /** Of the type `query`: label_values(SELECTOR, LABEL). */
      readonly query: string | { readonly query: string };
    }[];
  };
}

export interface Named<T> {
  readonly name: string;
  readonly content: T;
}

const folder = (path: string): string => join(packageRoot, 'deploy', path);

function readAll<T>(path: string, extension: string, read: (text: string) => unknown): Named<T>[] {
  return readdirSync(folder(path))
    .filter((name) => name.endsWith(extension))
    .sort()
    .map((name) => ({ name, content: read(readFileSync(join(folder(path), name), 'utf8')) as T }));
}

export const ruleFiles = (): Named<RuleFile>[] => readAll('prometheus/rules', '.yml', parse);
export const ruleTests = (): Named<RuleTests>[] => readAll('prometheus/tests', '.yml', parse);
export const dashboards = (): Named<Dashboard>[] => readAll('grafana/dashboards', '.json', JSON.parse);

export const allRules = (): Rule[] =>
  ruleFiles().flatMap(({ content }) => content.groups.flatMap(({ rules }) => rules));

/** `label_values(SELECTOR, LABEL)` of a dashboard's variable. */
export function variableQuery(text: string): { readonly selector: string; readonly label: string } {
  const [, selector, label] = /^label_values\((.*), (\w+)\)$/.exec(text) ?? [];
  if (selector === undefined || label === undefined) throw new Error(`${text}: expected label_values(SELECTOR, LABEL)`);
  return { selector, label };
}
