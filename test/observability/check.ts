/**
 * `npm run check:observability`: promtool on the rules, the configuration and the tests of rules; then a real server under load, scraped by a real Prometheus
 * with our rules, which is asked for every query of every dashboard and every rule. Fails where one errors, or gives nothing although it should.
 * Needs `prometheus` and `promtool`. Takes about a minute, listens on 127.0.0.1 only and leaves nothing running.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse, stringify } from 'yaml';
import { endChildrenOnSignals, startService } from '../../client/bench/server-process.js';
import { CoordinatorClient } from '../../client/client.js';
import { packageRoot } from '../../src/package-root.js';
import { seededNormal } from '../seeded-normal.js';
import { allRules, dashboards, ruleFiles, ruleTests, variableQuery } from './files.js';
import { readsOf } from './promql.js';

const run = promisify(execFile);
const deploy = join(packageRoot, 'deploy/prometheus');
const loadMs = 20_000;
/** A query over fewer scrapes than this would be empty for want of time. */
const rateWindow = '10s';

/** What is rightly empty here, by the metric that it reads, and why. */
const mayBeEmpty: Readonly<Record<string, string>> = {
  coordinate_tls_certificate_expiry_timestamp_seconds: 'the server is started without TLS',
  coordinate_engine_failover_total: 'no engine fails here',
  coordinate_quota_refused_total: 'there is no quota file',
  coordinate_trace_spans_total: 'traces are off',
  ALERTS: 'no alert needs to fire',
  up: 'alerts on it ask for replicas that are down',
};

interface QueryResult {
  readonly result: readonly { readonly metric: Readonly<Record<string, string>>; readonly value: [number, string] }[];
}

export async function main(): Promise<number> {
  endChildrenOnSignals();
  const failures: string[] = [];
  const fail = (text: string): void => void failures.push(text);
  const rulePaths = ruleFiles().map(({ name }) => join(deploy, 'rules', name));
  await promtool(fail, 'check', 'rules', ...rulePaths);
  await promtool(fail, 'check', 'config', join(deploy, 'prometheus.yml'));
  for (const { name } of ruleTests()) await promtool(fail, 'test', 'rules', join(deploy, 'tests', name));

  const folder = mkdtempSync(join(tmpdir(), 'tensor-consensus-observability-'));
  const server = await startService(['--log-level', 'info']);
  let prometheus: ChildProcess | null = null;
  try {
    const address = `127.0.0.1:${await freePort()}`;
    writeConfiguration(folder, server.adminAddress);
    prometheus = startPrometheus(folder, address);
    await load(server.grpcAddress);
    const empty = await ask(address, fail);
    for (const line of empty) process.stdout.write(`empty, rightly: ${line}\n`);
    await promtoolMetrics(fail, server.adminAddress);
  } finally {
    await end(prometheus);
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  for (const failure of failures) process.stdout.write(`FAILED ${failure}\n`);
  process.stdout.write(failures.length === 0 ? 'all well\n' : `${failures.length} failures\n`);
  return failures.length === 0 ? 0 : 1;
}

async function promtool(fail: (text: string) => void, ...words: string[]): Promise<void> {
  const shown = `promtool ${words.map((word) => word.replace(`${packageRoot}/`, '')).join(' ')}`;
  try {
    await run('promtool', words, { timeout: 60_000 });
    process.stdout.write(`${shown}: ok\n`);
  } catch (thrown) {
    const { stdout = '', stderr = '', message } = thrown as { stdout?: string; stderr?: string; message: string };
    fail(`${shown}: ${stdout}${stderr}` || message);
  }
}

/** `promtool check metrics` reads what the server shows. */
async function promtoolMetrics(fail: (text: string) => void, adminAddress: string): Promise<void> {
  const text = await (await fetch(`http://${adminAddress}/metrics`)).text();
  const child = spawn('promtool', ['check', 'metrics'], { stdio: ['pipe', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes: Buffer) => (said += bytes.toString()));
  child.stdin.end(text);
  const [code] = (await once(child, 'exit')) as [number];
  if (code !== 0) fail(`promtool check metrics: ${said}`);
  else process.stdout.write('promtool check metrics: ok\n');
}

/** Our own files, but for the target, and with everything looked at each second. */
function writeConfiguration(folder: string, adminAddress: string): void {
  const config = parse(readFileSync(join(deploy, 'prometheus.yml'), 'utf8')) as {
    global: Record<string, string>;
    scrape_configs: { static_configs: { targets: string[] }[] }[];
  };
  config.global = { ...config.global, scrape_interval: '1s', evaluation_interval: '1s' };
  for (const { static_configs: targets } of config.scrape_configs) targets[0]!.targets = [adminAddress];
  writeFileSync(join(folder, 'prometheus.yml'), stringify(config));
  mkdirSync(join(folder, 'rules'));
  for (const { name, content } of ruleFiles()) {
    for (const group of content.groups) delete group.interval;
    writeFileSync(join(folder, 'rules', name), stringify(content));
  }
}

function startPrometheus(folder: string, address: string): ChildProcess {
  const flags = [
    `--config.file=${join(folder, 'prometheus.yml')}`,
    `--storage.tsdb.path=${join(folder, 'data')}`,
    `--web.listen-address=${address}`,
    '--log.level=error',
  ];
  const child = spawn('prometheus', flags, { stdio: ['ignore', 'inherit', 'inherit'] });
  process.once('exit', () => child.kill('SIGKILL'));
  return child;
}

async function end(child: ChildProcess | null): Promise<void> {
  if (child === null || child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
  await gone;
  clearTimeout(timer);
}

/** Calls of every form, ticks, and calls that are refused, too late or given up. */
async function load(grpcAddress: string): Promise<void> {
  const seed = 7;
  const normal = seededNormal(seed);
  const points = (count: number, width: number) => ({
    data: Float32Array.from({ length: count * width }, normal),
    shape: [count, width] as [number, number],
  });
  const client = new CoordinatorClient(grpcAddress, { retries: 0 });
  const untilMs = Date.now() + loadMs;
  let calls = 0;
  let failed = 0;
  const ended = (ok: boolean): void => {
    calls++;
    if (!ok) failed++;
  };
  const repeat = async (call: () => Promise<unknown>, pauseMs: number): Promise<void> => {
    while (Date.now() < untilMs) {
      await call().then(
        () => ended(true),
        () => ended(false),
      );
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  };
  const ids = (kind: string, count: number) => Array.from({ length: count }, (_, index) => `${kind}${index}`);
  const stream = client.openStream();
  const tick = () =>
    stream.send({
      agents: points(40, 2),
      tasks: points(40, 2),
      agentIds: ids('a', 40),
      taskIds: ids('t', 40),
      assignment: { keepBonus: 0.1 },
    });
  const hard = { agents: points(100, 2), tasks: points(100, 2) };
  const soft = {
    policy: 'reference',
    agents: points(60, 64),
    tasks: points(60, 64),
    assignment: { forms: ['TOP_K', 'HARD'] },
  } as const;
  // Each of them needs a program of its own.
  let iterations = 10;
  const unseen = () => ({ ...soft, assignment: { forms: ['TOP_K'] as const, iterations: ++iterations } });
  const large = { agents: points(512, 2), tasks: points(512, 2) };
  await Promise.all([
    repeat(() => client.coordinate(hard), 10),
    repeat(() => client.coordinate(soft), 10),
    repeat(tick, 20),
    repeat(() => client.coordinate(unseen()), 2000),
    repeat(() => client.coordinate(large, { deadlineMs: 2 }), 200),
    repeat(() => client.coordinate({ ...hard, policy: 'not-there' }), 500),
    repeat(() => client.coordinate(large, { signal: AbortSignal.timeout(3) }), 500),
  ]);
  await stream.close();
  client.close();
  process.stdout.write(`load: seed ${seed}, ${calls} calls and ticks, ${failed} of them ended as failures\n`);
}

/** Asks for every query. Returns what is empty and may be. */
async function ask(address: string, fail: (text: string) => void): Promise<string[]> {
  const api = async <T>(path: string, parameters: Record<string, string> = {}): Promise<T> => {
    const query = new URLSearchParams(parameters).toString();
    const answer = await fetch(`http://${address}/api/v1/${path}?${query}`);
    const body = (await answer.json()) as { status: string; error?: string; data: T };
    if (body.status !== 'success') throw new Error(body.error ?? `HTTP ${answer.status}`);
    return body.data;
  };
  const empty: string[] = [];
  let asked = 0;
  const query = async (where: string, expression: string): Promise<void> => {
    const text = expression.replaceAll('$__rate_interval', rateWindow).replaceAll(/\$(job|instance)/g, '.*');
    asked++;
    try {
      const { result } = await api<QueryResult>('query', { query: text });
      if (result.some(({ value }) => value[1] !== 'NaN')) return;
    } catch (thrown) {
      fail(`${where}: ${text}: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
      return;
    }
    const reason = readsOf(expression)
      .selectors.map(({ metric }) => mayBeEmpty[metric])
      .find((why) => why !== undefined);
    if (reason === undefined) fail(`${where}: ${text} gives nothing`);
    else empty.push(`${where}: ${reason}`);
  };

  for (const { content } of dashboards()) {
    for (const { title, targets = [] } of content.panels)
      for (const { refId, expr } of targets) await query(`${content.title} / ${title} / ${refId}`, expr);
    for (const { name, expr } of content.annotations.list) await query(`${content.title} / ${name}`, expr);
    for (const { name, query: text } of content.templating.list) {
      if (typeof text !== 'string') await query(`${content.title} / $${name}`, variableQuery(text.query).selector);
    }
  }
  const panels = asked;
  for (const { record, alert, expr } of allRules()) {
    if (record !== undefined) await query(record, record);
    // An alert that is silent is well only where what it reads is there.
    else for (const { text } of readsOf(expr).selectors) await query(alert!, text);
  }
  interface Group {
    readonly rules: readonly { name: string; health: string; lastError?: string; state?: string }[];
  }
  const { groups } = await api<{ groups: readonly Group[] }>('rules');
  const rules = groups.flatMap((group) => group.rules);
  for (const { name, health, lastError = '' } of rules) if (health !== 'ok') fail(`${name}: ${health} ${lastError}`);
  if (rules.length !== allRules().length) fail(`Prometheus has ${rules.length} rules of ${allRules().length}`);
  const loud = rules.filter(({ state }) => state === 'firing' || state === 'pending');
  process.stdout.write(
    `${panels} queries of dashboards, ${asked - panels} of rules, ${rules.length} rules evaluated\n`,
  );
  for (const { name, state } of loud) process.stdout.write(`alert ${name} is ${state}\n`);
  return empty;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
