/** What TLS and a token cost in throughput, and what a tenant that sends ten times its quota does to another one's latency. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createToken, tokenDigest } from '../../src/access/token.js';
import { inOwnProcess } from './bench-process.js';
import { createAuthority } from './certificates.js';
import type { ClosedLoop } from './closed-caller.js';
import { serviceEngine, serviceFlags } from './engines.js';
import type { LoadAccess, LoadResult } from './load-generator.js';
import { sampleRequest } from './messages.js';
import type { OpenLoop, OpenResult } from './open-caller.js';
import { atLeast, atMost, type Cell, type Check, type Table } from './report.js';
import type { BenchContext, Section } from './section.js';
import { type ServerProcess, settled, startService } from './server-process.js';
import { median } from './statistics.js';

const callers = 32;
const leastShare = 0.85;
const warmUpSeconds = 4;

/** Of what the server does when it has all it can do. */
const pacedShare = 0.2;
const quotaShare = 0.05;
const timesQuota = 10;
const mostP99Ratio = 1.3;
/** Against one measurement of the other sections: a p99 needs calls. */
const timesLonger = 3;
const deadlineMs = 5000;

export const security: Section = async (context) => {
  const cost = await costOfAccess(context);
  const isolation = await isolationOfTenants(context);
  return {
    name: 'security',
    title: 'TLS, tokens and quotas',
    method:
      `Engine: ${serviceEngine(context)}. Cost: \`reference\` policy, N=M=100, d=64, \`TOP_K\`, ${callers} callers, a server without TLS and one with TLS and bearer tokens in turn, ` +
      `${context.rounds} rounds of ${context.seconds} s, medians; the ratio is taken within each round. Isolation: \`distance\` policy, N=M=100, \`HARD\`; capacity is the rate of a closed loop. ` +
      `One tenant sends ${100 * pacedShare} % of it at equal distances. Another has a quota of ${100 * quotaShare} % and sends nothing, its quota, and ${timesQuota} times its quota, each in a process of its own; ` +
      `${context.rounds} rounds of ${timesLonger * context.seconds} s for each, medians. Rates in calls a second, times in ms.`,
    tables: [cost.table, isolation.table],
    checks: [...cost.checks, ...isolation.checks],
  };
};

interface Part {
  readonly table: Table;
  readonly checks: readonly Check[];
}

async function costOfAccess(context: BenchContext): Promise<Part> {
  const { folder, generator, rounds, seconds } = context;
  const save = (name: string, content: string | Buffer): string => {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  };
  const authority = createAuthority('bench');
  const issued = authority.issue({ commonName: 'bench', names: ['ip:127.0.0.1', 'dns:localhost'] });
  const token = createToken();
  const rule = { identity: 'bench', tenants: ['bench'], sha256: tokenDigest(token) };
  const requestFile = save(
    'security.request',
    sampleRequest({ policy: 'reference', agents: 100, tasks: 100, width: 64, seed: 1, forms: ['TOP_K'] }),
  );
  const access: LoadAccess = { caFile: save('ca.pem', authority.cert), token };
  const secured = [
    ...['--tls-cert', save('server.pem', issued.cert), '--tls-key', save('server.key', issued.key)],
    ...['--access-file', save('access.jsonl', JSON.stringify(rule))],
  ];
  const servers: ServerProcess[] = [];
  const pairs: { readonly plain: LoadResult; readonly secure: LoadResult }[] = [];
  try {
    servers.push(await startService(serviceFlags(context)));
    servers.push(await startService([...serviceFlags(context), ...secured]));
    const [plain, secure] = [servers[0]!, servers[1]!];
    const load = { requestFile, callers };
    const measure = async (forSeconds: number): Promise<(typeof pairs)[number]> => ({
      plain: await generator.generate({ ...load, address: plain.grpcAddress, seconds: forSeconds }),
      secure: await generator.generate({ ...load, address: secure.grpcAddress, seconds: forSeconds, access }),
    });
    await measure(seconds);
    await Promise.all([settled(plain), settled(secure)]);
    await measure(warmUpSeconds);
    for (let round = 0; round < rounds; round++) {
      const pair = await measure(seconds);
      pairs.push(pair);
      context.progress(
        `plain ${pair.plain.ratePerSecond.toFixed(0)}/s, TLS and token ${pair.secure.ratePerSecond.toFixed(0)}/s`,
      );
    }
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
  }
  const row = (name: string, pick: (pair: (typeof pairs)[number]) => LoadResult): Cell[] => [
    name,
    median(pairs.map((pair) => pick(pair).ratePerSecond)),
    median(pairs.map((pair) => pick(pair).p50Ms)),
    median(pairs.map((pair) => pick(pair).p99Ms)),
    pairs.reduce((sum, pair) => sum + pick(pair).failed, 0),
  ];
  const share = median(pairs.map(({ plain, secure }) => secure.ratePerSecond / plain.ratePerSecond));
  const failed = pairs.reduce((sum, { plain, secure }) => sum + plain.failed + secure.failed, 0);
  return {
    table: {
      columns: ['connections', 'rate', 'p50', 'p99', 'errors'],
      rows: [row('plain text', ({ plain }) => plain), row('TLS and a token', ({ secure }) => secure)],
    },
    checks: [
      atLeast(`rate with TLS and a token, TOP_K, ${callers} callers`, leastShare, share, 'of the rate without'),
      atMost('calls that failed with and without TLS', 0, failed, ''),
    ],
  };
}

async function isolationOfTenants(context: BenchContext): Promise<Part> {
  const { folder, rounds, seconds } = context;
  const requestFiles = Array.from({ length: 4 }, (_, index) => {
    const file = join(folder, `tenant-${index}.request`);
    const shape = {
      policy: 'distance',
      agents: 100,
      tasks: 100,
      width: 2,
      forms: ['HARD'],
      states: 'uniform',
    } as const;
    writeFileSync(file, sampleRequest({ ...shape, seed: index + 1 }));
    return file;
  });
  const quotaFile = join(folder, 'quota.json');
  const writeQuota = (rate: number): void =>
    writeFileSync(quotaFile, JSON.stringify({ tenants: { noisy: { requestsPerSecond: rate } } }));
  writeQuota(1e6);
  const service = await startService([
    ...serviceFlags(context),
    ...['--quota-file', quotaFile, '--credential-poll-ms', '100'],
  ]);
  const loads = [0, 1, timesQuota] as const;
  const byLoad = new Map<number, { readonly paced: OpenResult; readonly noisy: OpenResult | null }[]>(
    loads.map((load) => [load, []]),
  );
  let capacity: number;
  try {
    const closed = async (forSeconds: number): Promise<number> => {
      const loop = { address: service.grpcAddress, requestFiles, over: 'unary calls', callers: 8, connections: 2 };
      const job = { ...loop, seconds: forSeconds } as ClosedLoop;
      return (await inOwnProcess<LoadResult>('closed-caller.js', job)).ratePerSecond;
    };
    await closed(seconds);
    await settled(service);
    await closed(warmUpSeconds);
    capacity = await closed(seconds);
    const quota = quotaShare * capacity;
    writeQuota(quota);
    const open = (tenant: string, ratePerSecond: number, forSeconds: number): Promise<OpenResult> => {
      const loop = { address: service.grpcAddress, requestFiles, deadlineMs, connections: 1, tenant };
      const job: OpenLoop = { ...loop, ratePerSecond, seconds: forSeconds };
      return inOwnProcess<OpenResult>('open-caller.js', job);
    };
    // Also gives the server time to read the file.
    await open('paced', pacedShare * capacity, seconds);
    for (let round = 0; round < rounds; round++) {
      for (const load of loads) {
        const forSeconds = timesLonger * seconds;
        const [paced, noisy] = await Promise.all([
          open('paced', pacedShare * capacity, forSeconds),
          load === 0 ? null : open('noisy', load * quota, forSeconds),
        ]);
        byLoad.get(load)!.push({ paced, noisy });
        context.progress(
          `noisy tenant at ${load} of its quota: paced p99 ${paced.goodP99Ms.toFixed(2)} ms, noisy ${noisy?.good ?? 0} answered, ${noisy?.refused ?? 0} refused`,
        );
      }
    }
  } finally {
    await service.stop();
  }
  const p99At = (load: number, round: number): number => byLoad.get(load)![round]!.paced.goodP99Ms;
  const ratioTo = (base: number): number =>
    median(Array.from({ length: rounds }, (_, round) => p99At(timesQuota, round) / p99At(base, round)));
  const all = [...byLoad.values()].flat();
  const rows = loads.map((load): Cell[] => {
    const results = byLoad.get(load)!;
    const of = (pick: (result: (typeof results)[number]) => number): number => median(results.map(pick));
    return [
      load,
      load * quotaShare * capacity,
      of(({ noisy }) => noisy?.goodPerSecond ?? 0),
      of(({ noisy }) => (noisy === null ? 0 : noisy.refused / noisy.sent)),
      of(({ paced }) => paced.goodPerSecond),
      of(({ paced }) => paced.goodP50Ms),
      of(({ paced }) => paced.goodP99Ms),
      of(({ paced }) => paced.lagP99Ms),
    ];
  });
  const lost = all.reduce((sum, { paced }) => sum + paced.refused + paced.late + paced.failed, 0);
  return {
    table: {
      columns: [
        'noisy, of its quota',
        'noisy offered',
        'noisy answered',
        'noisy refused',
        'paced answered',
        'paced p50',
        'paced p99',
        'paced lag p99',
      ],
      rows,
    },
    checks: [
      atMost(
        `p99 of a tenant while another sends ${timesQuota} times its quota`,
        mostP99Ratio,
        ratioTo(1),
        'times what it is while that one keeps its quota',
      ),
      atMost('calls that the paced tenant did not get answered', 0, lost, ''),
    ],
  };
}
