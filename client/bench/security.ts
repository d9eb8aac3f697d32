/** What TLS and a token cost in throughput, here and in a server that does nothing else, and what a tenant that sends ten times its quota does to another one's latency. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createToken, tokenDigest } from '../../src/access/token.js';
import { serverNodeFlags } from '../../src/node-flags.js';
import { inOwnProcess } from './bench-process.js';
import { createAuthority } from './certificates.js';
import type { ClosedLoop } from './closed-caller.js';
import { serviceEngine, serviceFlags } from './engines.js';
import type { LoadAccess, LoadResult } from './load-generator.js';
import { coordinatePath, rawCall, rawClient, sampleRequest } from './messages.js';
import type { OpenLoop, OpenResult } from './open-caller.js';
import { atLeast, atMost, type Cell, type Check, type Table } from './report.js';
import type { BenchContext, Section } from './section.js';
import { type ServerProcess, settled, startNullServer, startService } from './server-process.js';
import { median } from './statistics.js';

const callers = 32;
const leastShare = 0.85;
const warmUpSeconds = 4;
/** Of each load, before what is counted. */
const leadInSeconds = 1;

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
      `Engine: ${serviceEngine(context)}. Cost: \`reference\` policy, N=M=100, d=64, \`TOP_K\`, ${callers} callers, a server without TLS, one with TLS and bearer tokens, and do-nothing servers without and with the same TLS in turn, ` +
      `${context.rounds} rounds of ${context.seconds} s, medians; ratios are taken within each round. The load generator's own TLS is in all of them. Isolation: \`distance\` policy, N=M=100, \`HARD\`; capacity is the rate of a closed loop. ` +
      `One tenant sends ${100 * pacedShare} % of it at equal distances. Another has a quota of ${100 * quotaShare} % and sends nothing, its quota, ${timesQuota} times its quota, and as much to another server of the same kind ` +
      `(what the generator and the shared cores alone do to the paced tenant), each in a process of its own; ` +
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
  const certificate = [save('server.pem', issued.cert), save('server.key', issued.key)] as const;
  const secured = [
    ...['--tls-cert', certificate[0], '--tls-key', certificate[1]],
    ...['--access-file', save('access.jsonl', JSON.stringify(rule))],
  ];
  const servers: ServerProcess[] = [];
  const all: Record<Subject, LoadResult>[] = [];
  const start = async (starting: Promise<ServerProcess>): Promise<ServerProcess> => {
    const server = await starting;
    servers.push(server);
    return server;
  };
  try {
    const plain = await start(startService(serviceFlags(context)));
    const secure = await start(startService([...serviceFlags(context), ...secured]));
    const answerFile = save('security.answer', await answerOf(plain, requestFile));
    // With the same flags, so that none of them spends more on the memory of requests.
    const asServers = { nodeArguments: serverNodeFlags };
    const nothing = await start(startNullServer(answerFile, asServers));
    const nothingSecure = await start(startNullServer(answerFile, asServers, certificate));
    const load = ({ grpcAddress }: ServerProcess, forSeconds: number, isSecure: boolean): Promise<LoadResult> => {
      const common = { requestFile, callers, address: grpcAddress, seconds: forSeconds };
      return generator.generate(isSecure ? { ...common, access } : common);
    };
    const measure = async (forSeconds: number): Promise<Record<Subject, LoadResult>> => ({
      plain: await load(plain, forSeconds, false),
      secure: await load(secure, forSeconds, true),
      nothing: await load(nothing, forSeconds, false),
      nothingSecure: await load(nothingSecure, forSeconds, true),
    });
    await measure(seconds);
    await Promise.all(servers.map((server) => settled(server)));
    await measure(warmUpSeconds);
    for (let round = 0; round < rounds; round++) {
      const results = await measure(seconds);
      all.push(results);
      const rate = (subject: Subject): string => `${results[subject].ratePerSecond.toFixed(0)}/s`;
      context.progress(
        `plain ${rate('plain')}, TLS and token ${rate('secure')}; do-nothing ${rate('nothing')}, with TLS ${rate('nothingSecure')}`,
      );
    }
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
  }
  const ratio = (above: Subject, below: Subject): number =>
    median(all.map((results) => results[above].ratePerSecond / results[below].ratePerSecond));
  const row = (server: string, connections: string, subject: Subject, nothing: Subject): Cell[] => [
    server,
    connections,
    median(all.map((results) => results[subject].ratePerSecond)),
    ratio(subject, nothing),
    median(all.map((results) => results[subject].p50Ms)),
    median(all.map((results) => results[subject].p99Ms)),
    all.reduce((sum, results) => sum + results[subject].failed, 0),
  ];
  const shareKept = median(
    all.map(
      ({ plain, secure, nothing, nothingSecure }) =>
        secure.ratePerSecond / nothingSecure.ratePerSecond / (plain.ratePerSecond / nothing.ratePerSecond),
    ),
  );
  const failed = all.flatMap((results) => Object.values(results)).reduce((sum, each) => sum + each.failed, 0);
  return {
    table: {
      columns: ['server', 'connections', 'rate', 'of do-nothing on the same', 'p50', 'p99', 'errors'],
      rows: [
        row('this service', 'plain text', 'plain', 'nothing'),
        row('this service', 'TLS and a token', 'secure', 'nothingSecure'),
        row('do-nothing', 'plain text', 'nothing', 'nothing'),
        row('do-nothing', 'TLS', 'nothingSecure', 'nothingSecure'),
      ],
    },
    checks: [
      atLeast(
        `rate with TLS and a token, TOP_K, ${callers} callers`,
        leastShare,
        ratio('secure', 'plain'),
        'of the rate without',
      ),
      atLeast(
        'share of a do-nothing server, both with TLS, and tokens here',
        leastShare,
        shareKept,
        'of the share with both in plain text',
      ),
      atMost('calls that failed with and without TLS', 0, failed, ''),
    ],
  };
}

type Subject = 'plain' | 'secure' | 'nothing' | 'nothingSecure';

async function answerOf({ grpcAddress }: ServerProcess, requestFile: string): Promise<Buffer> {
  const client = rawClient(grpcAddress);
  try {
    return await rawCall(client, coordinatePath, readFileSync(requestFile)).answer;
  } finally {
    client.close();
  }
}

interface NoisyLoad {
  readonly name: string;
  /** Of its quota. */
  readonly times: number;
  readonly server: ServerProcess;
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
  const flags = [...serviceFlags(context), '--quota-file', quotaFile, '--credential-poll-ms', '100'];
  const service = await startService(flags);
  const another = await startService(flags).catch(async (error: unknown) => {
    await service.stop();
    throw error;
  });
  const loads: readonly NoisyLoad[] = [
    { name: 'nothing', times: 0, server: service },
    { name: 'its quota', times: 1, server: service },
    { name: `${timesQuota} times it`, times: timesQuota, server: service },
    { name: `${timesQuota} times it, elsewhere`, times: timesQuota, server: another },
  ];
  const [, atQuota, beyond, elsewhere] = loads;
  const byLoad = new Map<NoisyLoad, { readonly paced: OpenResult; readonly noisy: OpenResult | null }[]>(
    loads.map((load) => [load, []]),
  );
  let capacity: number;
  try {
    const closed = async (forSeconds: number, server = service): Promise<number> => {
      const loop = { address: server.grpcAddress, requestFiles, over: 'unary calls', callers: 8, connections: 2 };
      const job = { ...loop, seconds: forSeconds } as ClosedLoop;
      return (await inOwnProcess<LoadResult>('closed-caller.js', job)).ratePerSecond;
    };
    for (const server of [another, service]) {
      await closed(seconds, server);
      await settled(server);
      await closed(warmUpSeconds, server);
    }
    capacity = await closed(seconds);
    const quota = quotaShare * capacity;
    writeQuota(quota);
    const open = (
      tenant: string,
      ratePerSecond: number,
      forSeconds: number,
      { grpcAddress: address } = service,
    ): Promise<OpenResult> => {
      const loop = { address, requestFiles, leadInSeconds, deadlineMs, connections: 1, tenant };
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
          load.times === 0 ? null : open('noisy', load.times * quota, forSeconds, load.server),
        ]);
        byLoad.get(load)!.push({ paced, noisy });
        context.progress(
          `noisy tenant sends ${load.name}: paced p99 ${paced.goodP99Ms.toFixed(2)} ms, noisy ${noisy?.good ?? 0} answered, ${noisy?.refused ?? 0} refused`,
        );
      }
    }
  } finally {
    await Promise.all([service.stop(), another.stop()]);
  }
  const p99At = (load: NoisyLoad, round: number): number => byLoad.get(load)![round]!.paced.goodP99Ms;
  const ratioTo = (base: NoisyLoad): number =>
    median(Array.from({ length: rounds }, (_, round) => p99At(beyond!, round) / p99At(base, round)));
  const all = [...byLoad.values()].flat();
  const rows = loads.map((load): Cell[] => {
    const results = byLoad.get(load)!;
    const of = (pick: (result: (typeof results)[number]) => number): number => median(results.map(pick));
    return [
      load.name,
      load.times * quotaShare * capacity,
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
        'noisy sends',
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
        ratioTo(atQuota!),
        'times what it is while that one keeps its quota',
      ),
      atMost(
        'the same, against one that sends as much to another server',
        mostP99Ratio,
        ratioTo(elsewhere!),
        'times what it is then',
      ),
      atMost('calls that the paced tenant did not get answered', 0, lost, ''),
    ],
  };
}
