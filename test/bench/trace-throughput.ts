/**
 * What traces cost in throughput: the same load on servers that trace nothing, a hundredth and all of their calls, in turn, and a collector in
 * this process that takes what they send. `npm run bench:traces -- throughput [rounds]`.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { cpuTimeBetween, cpuTimeOf } from '../../client/bench/cpu-time.js';
import { benchPlugin } from '../../client/bench/engines.js';
import { findLoadGenerator } from '../../client/bench/load-generator.js';
import { sampleRequest } from '../../client/bench/messages.js';
import { type ServerProcess, settled, startService } from '../../client/bench/server-process.js';
import { median } from '../../client/bench/statistics.js';

const callers = 32;
const seconds = 2;
/** V8 compiles what a server does all day for some seconds after it began to. */
const warmUpSeconds = 4;
const defaultRounds = 4;

interface Variant {
  readonly name: string;
  /** Null: no endpoint. */
  readonly share: string | null;
  readonly rates: number[];
  readonly mainThreadUs: number[];
  readonly processUs: number[];
}

export async function measureThroughput(rounds = defaultRounds): Promise<number> {
  let [messages, bytes] = [0, 0];
  const collector = createServer((request, response) => {
    request
      .on('data', (chunk: Buffer) => (bytes += chunk.length))
      .on('end', () => {
        messages++;
        response.end();
      });
  });
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
  const { port } = collector.address() as AddressInfo;
  const folder = mkdtempSync(join(tmpdir(), 'tc-traces-'));
  const requestFile = join(folder, 'request');
  writeFileSync(
    requestFile,
    sampleRequest({ policy: 'reference', agents: 100, tasks: 100, width: 64, seed: 1, forms: ['TOP_K'] }),
  );
  const generator = await findLoadGenerator({ ...process.env, HOME: homedir() });
  const plugin = benchPlugin('', process.env);
  const engine = plugin === null ? ['--engine', 'onnx'] : ['--engine', 'xla', '--pjrt-plugin', plugin];
  const variants = (
    [
      ['off', null],
      ['1 %', '0.01'],
      ['100 %', '1'],
    ] as const
  ).map(([name, share]): Variant => ({ name, share, rates: [], mainThreadUs: [], processUs: [] }));
  const servers: ServerProcess[] = [];
  let failed = 0;
  try {
    for (const { share } of variants) {
      const traces = ['--otlp-endpoint', `http://127.0.0.1:${port}`, '--trace-max-per-second', '100000'];
      servers.push(
        await startService([...engine, ...(share === null ? [] : [...traces, '--trace-sample-ratio', share])]),
      );
    }
    const load = (server: ServerProcess, forSeconds: number) =>
      generator.generate({ address: server.grpcAddress, requestFile, callers, seconds: forSeconds });
    for (const server of servers) {
      await load(server, warmUpSeconds);
      await settled(server, 5000);
      await load(server, seconds);
    }
    for (let round = 0; round < rounds; round++) {
      // Each is the first one of some round.
      for (const at of variants.keys()) {
        const i = (at + round) % variants.length;
        const [variant, server] = [variants[i]!, servers[i]!];
        const before = cpuTimeOf(server.pid);
        const result = await load(server, seconds);
        const cpu = cpuTimeBetween(before, cpuTimeOf(server.pid));
        failed += result.failed;
        variant.rates.push(result.ratePerSecond);
        variant.mainThreadUs.push((1000 * (cpu?.mainThreadMs ?? NaN)) / result.calls);
        variant.processUs.push((1000 * (cpu?.processMs ?? NaN)) / result.calls);
      }
    }
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
    collector.close();
    rmSync(folder, { recursive: true, force: true });
  }
  const [off] = variants;
  console.log(
    `${generator.name}, ${callers} callers, N=M=100, TOP_K, ${plugin === null ? 'ONNX Runtime' : 'XLA'}; medians of ${rounds} rounds of ${seconds} s`,
  );
  for (const variant of variants) {
    const ratios = variant.rates.map((rate, round) => rate / off!.rates[round]!);
    console.log(
      `traces ${variant.name.padEnd(6)} ${median(variant.rates).toFixed(0).padStart(6)}/s, ${median(ratios).toFixed(3)} of the rate without; ` +
        `CPU a call: main thread ${median(variant.mainThreadUs).toFixed(0)} us, process ${median(variant.processUs).toFixed(0)} us`,
    );
  }
  console.log(
    `${messages} messages of ${Math.round(bytes / Math.max(1, messages))} bytes at the collector; ${failed} calls failed`,
  );
  return failed === 0 ? 0 : 1;
}
