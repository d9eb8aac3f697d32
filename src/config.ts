/**
 * Every setting of the server, defined once: flag, environment variable, default with its reason, range and meaning.
 * `serve --help` and the settings in docs/operations.md are printed from the same table. Pure: arguments and environment are passed in.
 * Past 400 lines because the settings are one table.
 */
import { isTenantName } from './batching/fairness.js';
import { defaultMaxPaddingWaste } from './batching/policy.js';

/** Where a server listens. Port 0: any free port. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** How a setting is read from text; `expected` is the range that messages and documents show. */
interface Kind<T> {
  readonly expected: string;
  /** Undefined where the text is not allowed. */
  parse(text: string): T | undefined;
  /** What a flag without a value stands for; absent: it needs one. */
  readonly bare?: string;
}

interface Setting<T> {
  readonly kind: Kind<T>;
  /** As it would be typed. */
  readonly fallback: string;
  readonly help: string;
  /** Why this default. */
  readonly reason: string;
  /** A variable that other programs know for the same: read where neither the flag nor our own variable is given. */
  readonly sharedVariable?: string;
}

const numberText = /^\d+(\.\d+)?$/;

function number(min: number, max: number, unit: string): Kind<number> {
  return {
    expected: `a number from ${min} to ${max}${unit === '' ? '' : ` (${unit})`}`,
    parse(text) {
      const value = numberText.test(text) ? Number(text) : NaN;
      return value >= min && value <= max ? value : undefined;
    },
  };
}

function whole(min: number, max: number, unit = ''): Kind<number> {
  return {
    expected: `a whole number from ${min} to ${max}${unit === '' ? '' : ` (${unit})`}`,
    parse(text) {
      const value = /^\d+$/.test(text) ? Number(text) : NaN;
      return value >= min && value <= max ? value : undefined;
    },
  };
}

function oneOf<const T extends string>(...allowed: readonly T[]): Kind<T> {
  return {
    expected: `one of ${allowed.join(', ')}`,
    parse: (text) => allowed.find((value) => value === text),
  };
}

/** Comma-separated, in order of preference, none twice. */
function listOf<const T extends string>(...allowed: readonly T[]): Kind<readonly T[]> {
  return {
    expected: `a comma-separated list of ${allowed.join(', ')}`,
    parse(text) {
      const values = text.split(',').map((part) => allowed.find((value) => value === part.trim()));
      const known = values.filter((value) => value !== undefined);
      return known.length === values.length && new Set(known).size === known.length ? known : undefined;
    },
  };
}

/** `NAME=WEIGHT,...`: whole weights, names as `isTenantName` has them, none twice. */
const tenantWeights: Kind<ReadonlyMap<string, number>> = {
  expected: 'a comma-separated list of NAME=WEIGHT with whole weights from 1 to 1000',
  parse(text) {
    const weights = new Map<string, number>();
    for (const part of text === '' ? [] : text.split(',')) {
      const [name = '', weightText = '', ...more] = part.trim().split('=');
      const weight = /^\d{1,4}$/.test(weightText) ? Number(weightText) : 0;
      const isAllowed = isTenantName(name) && weight >= 1 && weight <= 1000 && more.length === 0;
      if (!isAllowed || weights.has(name)) return undefined;
      weights.set(name, weight);
    }
    return weights;
  },
};

const address: Kind<ListenAddress> = {
  expected: 'HOST:PORT (port 0 = any free port; IPv6 as [::1]:PORT)',
  parse(text) {
    const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text);
    if (match === null) return undefined;
    const port = Number(match[3]);
    const host = match[1] ?? match[2];
    return host === undefined || port > 65_535 ? undefined : { host, port };
  },
};

const folder: Kind<string | null> = {
  expected: 'the path of a folder',
  parse: (text) => (text === '' ? null : text),
};

const file: Kind<string | null> = {
  expected: 'the path of a file',
  parse: (text) => (text === '' ? null : text),
};

const text: Kind<string | null> = {
  expected: 'a text',
  parse: (value) => (value === '' ? null : value),
};

const claimName: Kind<string> = {
  expected: 'the name of a claim',
  parse: (value) => (value === '' ? undefined : value),
};

/** `--flag` alone is true. */
const yesOrNo: Kind<boolean> = {
  expected: 'true or false',
  parse: (value) => (value === 'true' ? true : value === 'false' ? false : undefined),
  bare: 'true',
};

const httpAddress: Kind<string | null> = {
  expected: 'an http:// or https:// address without name, password, query or fragment',
  parse(value) {
    if (value === '') return null;
    if (!/^https?:\/\//.test(value) || !URL.canParse(value)) return undefined;
    const { username, password, search, hash } = new URL(value);
    return username === '' && password === '' && search === '' && hash === '' ? value : undefined;
  },
};

const policyName: Kind<string> = {
  expected: 'the name of a policy',
  parse: (text) => (text === '' ? undefined : text),
};

function setting<T>(kind: Kind<T>, fallback: string, help: string, reason: string): Setting<T> {
  return { kind, fallback, help, reason };
}

/** In the order in which help and documents list them. The flag and the variable are the name in kebab and in TC_ upper case. */
const settings = {
  grpcAddress: setting(
    address,
    '127.0.0.1:50051',
    'Where gRPC calls are served.',
    'reachable from this machine only until told otherwise',
  ),
  adminAddress: setting(
    address,
    '127.0.0.1:9464',
    'Where /metrics, /livez, /readyz and /log-level are served.',
    'the port that Prometheus exporters of Node services use',
  ),
  tlsCert: setting(
    file,
    '',
    'Certificate chain (PEM) of the gRPC address: with `--tls-key` it is served over TLS. Changes are picked up for new connections.',
    'plaintext, which is for loopback',
  ),
  tlsKey: setting(file, '', 'Private key (PEM, not encrypted) of that certificate.', 'as above'),
  tlsClientCa: setting(
    file,
    '',
    'Certificates (PEM) of the authorities that client certificates must come from: mutual TLS.',
    'clients need no certificate',
  ),
  tlsRequireClientCert: setting(
    yesOrNo,
    'true',
    'With `--tls-client-ca`: connections without a certificate are refused; false: they may go on, and need a token where `--access-file` is set.',
    'an authority is named in order to be asked',
  ),
  allowPlaintext: setting(
    yesOrNo,
    'false',
    'Serve gRPC without TLS on an address that is not loopback.',
    'states, tasks and tokens would travel for all to read; set it where something in front encrypts',
  ),
  accessFile: setting(
    file,
    '',
    'Who may call: tokens (hashed), names in client certificates and subjects of JSON web tokens, one a line (docs/security.md). Every call but health then needs credentials.',
    'calls need no credentials',
  ),
  jwtJwksFile: setting(
    file,
    '',
    'Public keys (a JSON web key set) of JSON web tokens; with `--jwt-issuer` and `--jwt-audience`. Every call but health then needs credentials.',
    'no JSON web tokens',
  ),
  jwtIssuer: setting(text, '', 'The `iss` that JSON web tokens must have.', 'as above'),
  jwtAudience: setting(text, '', 'The `aud` that JSON web tokens must have.', 'as above'),
  jwtAlgorithms: setting(
    listOf('RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'),
    'RS256,ES256,EdDSA',
    'Signatures that JSON web tokens may have.',
    'what identity providers use',
  ),
  jwtClockToleranceS: setting(
    whole(0, 600, 's'),
    '5',
    'By how much the clock of the issuer of JSON web tokens may differ.',
    'clocks that are kept by NTP',
  ),
  jwtTenantsClaim: setting(
    claimName,
    'tenants',
    'Claim of JSON web tokens that lists the tenants of subjects that the access file does not name.',
    'no registered claim says it',
  ),
  quotaFile: setting(
    file,
    '',
    'Quotas of tenants: requests, agent states and bytes a second, concurrent calls, streams (docs/security.md).',
    'no quotas',
  ),
  credentialPollMs: setting(
    whole(50, 3_600_000, 'ms'),
    '2000',
    'How often the files of certificates, access rules, JSON web keys and quotas are looked at for changes.',
    'works on mounted secrets, where change events do not arrive',
  ),
  engine: setting(
    oneOf('auto', 'xla', 'onnx'),
    'auto',
    'Which engines may run programs: xla needs a PJRT plugin; auto is XLA where one is installed, and ONNX Runtime beside it.',
    'the best that is installed, and another where that fails',
  ),
  pjrtPlugin: setting(
    file,
    '',
    'Shared library of a PJRT plugin for the XLA engine, in place of those that are installed.',
    'found where plugins are installed',
  ),
  pluginDir: setting(
    folder,
    '',
    'Folder of the PJRT plugins that `plugin install` keeps and the XLA engine loads from.',
    '~/.cache/tensor-consensus/plugins',
  ),
  executableCacheDir: setting(
    folder,
    '',
    'Folder in which compiled programs are kept, those of XLA and ONNX models as optimised, so that the next start compiles nothing.',
    '~/.cache/tensor-consensus/executables',
  ),
  executableCacheMb: setting(
    whole(0, 1_048_576, 'MiB'),
    '512',
    'Size of that folder, above which the least recently used programs are deleted; 0 = keep and look for none.',
    'thousands of programs',
  ),
  devices: setting(
    whole(0, 1024),
    '0',
    'Devices that the XLA engine uses, each with a copy of every program; 0 = all, and one of a CPU.',
    'batches spread over what is there; more devices of a CPU share its cores',
  ),
  onnxProviders: setting(
    listOf('cuda', 'cpu'),
    'cpu',
    'Execution providers of ONNX Runtime, most wanted first.',
    'works everywhere',
  ),
  engineThreads: setting(
    whole(1, 256),
    '1',
    'Threads that one program of ONNX Runtime runs on.',
    'a hundred agents are too few to split, and the event loop wants a core; raise it for thousands of agents',
  ),
  engineMemoryMb: setting(
    whole(16, 1_048_576, 'MiB'),
    '1024',
    'Memory of loaded programs, above which the least recently used are unloaded.',
    'several times the warm set',
  ),
  engineHangTimeoutMs: setting(
    whole(100, 600_000, 'ms'),
    '30000',
    'A batch that runs longer, and longer than its size explains, counts as hung: its calls run on another engine or fail as UNAVAILABLE, and the engine is restarted.',
    'many times the slowest bucket of the warm set',
  ),
  busyPollMs: setting(
    number(0, 100, 'ms'),
    '2',
    'Runs of XLA that are expected to take no longer are waited for by an event loop that does not sleep, where their call is the only one and no solver works beside them; 0 = it sleeps.',
    'a core that sleeps takes 50 to 100 us to wake; with more calls than one, or after a longer run, that is little',
  ),
  solverThreads: setting(
    whole(1, 64),
    '2',
    'Threads for hard assignments.',
    'with two or more, one never takes a long problem (50 ms or more), nor any large one within a second of a small one, so that small ones do not wait behind them',
  ),
  policyDir: setting(folder, '', 'Folder of NAME.safetensors policy files.', 'the built-in policies only'),
  policyPollMs: setting(
    whole(50, 3_600_000, 'ms'),
    '2000',
    'How often the policy folder is looked at for changes.',
    'works on network file systems, where change events do not arrive',
  ),
  defaultPolicy: setting(policyName, 'distance', 'Policy of requests that name none.', 'needs no weights'),
  maxBatch: setting(whole(1, 32), '32', 'Most problems in a batch.', 'the largest compiled batch'),
  maxQueueDelayMs: setting(
    number(0, 1000, 'ms'),
    '25',
    'Longest that a request waits for company while the engine is busy and nothing tells when it will be free; an idle engine never waits.',
    'once a program has run, batches are handed over just before the engine is expected to be free',
  ),
  maxQueue: setting(
    whole(1, 100_000),
    '256',
    'Most requests waiting; more are refused with RESOURCE_EXHAUSTED and a time to retry.',
    'eight full batches: waits stay well below a second, and overload is refused early',
  ),
  maxQueueMb: setting(
    whole(1, 1_048_576, 'MiB'),
    '256',
    'Most memory that waiting requests may hold, those for the engine and those for the solvers each; more are refused as above.',
    'four of the largest messages, and a full queue of 1 MB each',
  ),
  maxDeadlineMs: setting(
    whole(1, 86_400_000, 'ms'),
    '300000',
    'Longest deadline of a Coordinate call; one that is later, or absent, counts as this.',
    'longer than any answer takes; nobody waits for what comes later',
  ),
  tenantWeights: setting(
    tenantWeights,
    '',
    'Weights of tenants, as calls name them in the metadata tc-tenant; others weigh 1 each. While several want the engine or a solver, each gets its share.',
    'equal shares',
  ),
  maxPaddingWaste: setting(
    number(0, 1, 'share'),
    String(defaultMaxPaddingWaste),
    'Largest share of a batch that may be wasted on padding because requests of different sizes share it.',
    'sharing costs at most 1.7 times the work, and a lone tiny request does not ride with one that is far larger',
  ),
  maxSwarm: setting(
    whole(1, 100_000_000),
    '1000000',
    'Most agents and most tasks of a request. Beyond 5120 of either the answer comes from a sparse solver, without `PLAN`.',
    'a swarm of that size takes about a GiB; the message limit ends most requests before',
  ),
  maxWidth: setting(
    whole(1, 1024),
    '1024',
    'Widest states of agents and tasks, and responses.',
    'the largest compiled width',
  ),
  maxIterations: setting(
    whole(1, 1000),
    '1000',
    'Most iterations, of Sinkhorn and of the consensus, that a request may ask for.',
    'what the API allows; each iteration costs the engine time that others wait for',
  ),
  maxMessageMb: setting(
    whole(1, 2047, 'MiB'),
    '64',
    'Largest request and largest answer.',
    'a plan of 4000 x 4000; 256 allows 5000 x 5000',
  ),
  maxUnreadMb: setting(
    whole(1, 1_048_576, 'MiB'),
    '256',
    'Answers written and not read by their clients, above which connections that hold some get no more calls; one connection may hold a quarter.',
    'four of the largest answers',
  ),
  slowReaderTimeoutMs: setting(
    whole(1000, 3_600_000, 'ms'),
    '30000',
    'A connection that takes next to nothing of the answers written to it for so long is closed.',
    'longer than networks hiccup',
  ),
  keepaliveTimeMs: setting(
    whole(1000, 3_600_000, 'ms'),
    '30000',
    'How often connections are asked for a sign of life.',
    'a client that vanished is found within a minute',
  ),
  keepaliveTimeoutMs: setting(
    whole(100, 600_000, 'ms'),
    '10000',
    'A connection that gives no sign of life for so long after it was asked is closed.',
    'many round trips',
  ),
  maxConcurrentStreams: setting(
    whole(1, 1_000_000),
    '1024',
    'Calls that one connection may have open.',
    'more than the queue takes',
  ),
  maxStreams: setting(
    whole(1, 100_000),
    '256',
    'CoordinateStream calls open at a time; more are refused with RESOURCE_EXHAUSTED.',
    'far more simulators than one server keeps up with; each may hold a few messages and its last tick',
  ),
  streamWindow: setting(
    whole(1, 1024),
    '16',
    'Requests of one stream that may wait for their answers; further ones are not read until there is room.',
    'a tick runs after the one before, so more would only wait longer',
  ),
  streamTickTimeoutMs: setting(
    whole(1, 3_600_000, 'ms'),
    '10000',
    "Time that each request of a stream has from its arrival, unless the stream's own deadline ends sooner.",
    'a stream has no deadline for each tick, and no tick may hold up those behind it for good',
  ),
  maxConnections: setting(
    whole(1, 1_000_000),
    '4096',
    'Connections open at a time; more are closed as they come.',
    'each holds some tens of KiB; far more clients than one server keeps up with',
  ),
  maxMetadataKb: setting(
    whole(1, 1024, 'KiB'),
    '32',
    'Most metadata of a call; those with more fail.',
    'a JSON web token is a few KiB',
  ),
  maxIdlePings: setting(
    whole(1, 100_000, 'a minute'),
    '60',
    'Pings that a connection may send while nothing is sent to it; one that sends more is closed with `too_many_pings`.',
    'clients ask every ten seconds at most, and while answers come they may ask with each',
  ),
  maxConnectionIdleMs: setting(
    whole(0, 86_400_000, 'ms'),
    '0',
    'Connections without a call for so long are asked to go; 0 = never. Clients connect again with their next call.',
    'who calls every tick wants its connection ready; set it where `--max-connections` is scarce',
  ),
  maxConnectionAgeMs: setting(
    whole(0, 86_400_000, 'ms'),
    '0',
    'Connections older than this are asked to reconnect; 0 = never. Lets clients behind an L4 balancer find new replicas.',
    'a single server needs none',
  ),
  drainDelayMs: setting(
    whole(0, 600_000, 'ms'),
    '0',
    'At shutdown, how long calls are still accepted after health says NOT_SERVING.',
    'nothing to wait for without a load balancer; behind one, set what it takes to notice (5000)',
  ),
  drainTimeoutMs: setting(
    whole(0, 600_000, 'ms'),
    '10000',
    'At shutdown, how long accepted calls may take before they are cut off, the drain delay not included.',
    'drain delay and timeout together stay below the 30 s that Kubernetes gives',
  ),
  logLevel: setting(
    oneOf('fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'),
    'info',
    'Least severe log lines written; debug also logs good calls.',
    'failures and life-cycle only',
  ),
  logFormat: setting(
    oneOf('auto', 'json', 'pretty'),
    'auto',
    'Form of log lines.',
    'pretty on a terminal, JSON elsewhere',
  ),
  accessLog: setting(
    number(0, 1, 'share'),
    '0',
    'Share of the good calls and ticks that are logged at level info, taken at random; those that fail are logged anyway.',
    'metrics count them all, and a line for each would cost more than many calls',
  ),
  otlpEndpoint: {
    ...setting(
      httpAddress,
      '',
      'Collector that traces are sent to by OTLP over HTTP, under `v1/traces`. The exporter also reads the standard `OTEL_EXPORTER_OTLP_*` and `OTEL_RESOURCE_ATTRIBUTES`.',
      'no traces, and nothing of their libraries is loaded',
    ),
    sharedVariable: 'OTEL_EXPORTER_OTLP_ENDPOINT',
  },
  traceSampleRatio: setting(
    number(0, 1, 'share'),
    '0.01',
    'Share of the calls and ticks that are traced, of those whose caller sends no `traceparent`; with one its sampled flag decides.',
    'enough to see where time goes; callers mark the calls that they care for',
  ),
  traceMaxPerSecond: setting(
    whole(1, 100_000),
    '100',
    'Most calls and ticks traced in a second, whatever their callers ask for.',
    'between one and two per cent of a core',
  ),
} as const;

type Settings = typeof settings;
type SettingName = keyof Settings;

/** All settings, checked and with defaults applied. */
export type Config = {
  readonly [Name in SettingName]: Settings[Name] extends Setting<infer T> ? T : never;
};

/** A setting that is unknown or not allowed. The message is one line for people. */
export class ConfigError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ConfigError';
  }
}

export interface LoadedConfig {
  readonly config: Config;
  /** One line each; nothing that stops the server. */
  readonly warnings: readonly string[];
}

const names = Object.keys(settings) as SettingName[];
const nameOfFlag = new Map(names.map((name) => [flagOf(name), name]));
const nameOfVariable = new Map(names.map((name) => [variableOf(name), name]));

/**
 * Reads the settings: flags (`--flag value` or `--flag=value`) before environment variables before defaults. An empty
 * variable counts as not set. Throws ConfigError for an unknown or repeated flag, a missing or bad value, or what this version does not have.
 */
export function loadConfig(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): LoadedConfig {
  const flags = readFlags(argv);
  const config: Record<string, unknown> = {};
  for (const name of names) {
    const { kind, fallback, sharedVariable = '' }: Setting<unknown> = settings[name];
    const fromFlag = flags.get(name);
    const variable = [variableOf(name), sharedVariable].find((candidate) => (env[candidate] ?? '') !== '');
    const text = fromFlag ?? (variable === undefined ? fallback : env[variable]!);
    const value = kind.parse(text);
    if (value === undefined) {
      const source = fromFlag === undefined ? (variable ?? variableOf(name)) : `--${flagOf(name)}`;
      throw new ConfigError(`${source}: expected ${kind.expected}, received '${text}'`);
    }
    config[name] = value;
  }
  const checked = config as unknown as Config;
  assertConsistent(checked);
  const warnings = Object.keys(env)
    .filter((variable) => variable.startsWith('TC_') && !nameOfVariable.has(variable))
    // Of the commands that call a server, which may run beside it.
    .filter((variable) => !variable.startsWith('TC_CLIENT_'))
    .map((variable) => `unknown environment variable ${variable}${suggestion(variable, [...nameOfVariable.keys()])}`);
  return { config: checked, warnings };
}

function readFlags(argv: readonly string[]): Map<SettingName, string> {
  const flags = new Map<SettingName, string>();
  for (let at = 0; at < argv.length; at++) {
    const argument = argv[at]!;
    if (!argument.startsWith('--')) throw new ConfigError(`unexpected argument '${argument}'`);
    const equals = argument.indexOf('=');
    const flag = argument.slice(2, equals === -1 ? undefined : equals);
    const name = nameOfFlag.get(flag);
    if (name === undefined) {
      const known = [...nameOfFlag.keys()].map((candidate) => `--${candidate}`);
      throw new ConfigError(`unknown flag --${flag}${suggestion(`--${flag}`, known)}`);
    }
    if (flags.has(name)) throw new ConfigError(`--${flag} is given twice`);
    const { bare }: Kind<unknown> = settings[name].kind;
    const next = argv[at + 1];
    if (bare !== undefined && equals === -1 && next !== 'true' && next !== 'false') {
      flags.set(name, bare);
      continue;
    }
    const value = equals === -1 ? argv[++at] : argument.slice(equals + 1);
    if (value === undefined || (equals === -1 && value.startsWith('--'))) {
      throw new ConfigError(`--${flag}: expected ${settings[name].kind.expected}, received nothing`);
    }
    flags.set(name, value);
  }
  return flags;
}

/** Cross-field rules. */
function assertConsistent(config: Config): void {
  if (config.pjrtPlugin !== null && config.engine === 'onnx') {
    throw new ConfigError('--pjrt-plugin: expected --engine auto or xla beside it, received onnx');
  }
  assertEncrypted(config);
  const jwt = {
    '--jwt-jwks-file': config.jwtJwksFile,
    '--jwt-issuer': config.jwtIssuer,
    '--jwt-audience': config.jwtAudience,
  };
  const missing = Object.entries(jwt).find(([, value]) => value === null)?.[0];
  const given = Object.entries(jwt).find(([, value]) => value !== null)?.[0];
  if (missing !== undefined && given !== undefined)
    throw new ConfigError(`${given}: expected ${missing} beside it, received nothing`);
}

/** TLS is set up whole, or the address is loopback, or plaintext is asked for by name. */
function assertEncrypted({ grpcAddress, tlsCert, tlsKey, tlsClientCa, allowPlaintext }: Config): void {
  if ((tlsCert === null) !== (tlsKey === null)) {
    const [given, missing] = tlsCert === null ? ['--tls-key', '--tls-cert'] : ['--tls-cert', '--tls-key'];
    throw new ConfigError(`${given}: expected ${missing} beside it, received nothing`);
  }
  if (tlsClientCa !== null && tlsCert === null)
    throw new ConfigError('--tls-client-ca: expected --tls-cert and --tls-key beside it, received nothing');
  if (tlsCert === null && !allowPlaintext && !isLoopback(grpcAddress.host)) {
    throw new ConfigError(
      `--grpc-address: expected --tls-cert and --tls-key for an address that is not loopback, or --allow-plaintext where something in front encrypts; received ${formatAddress(grpcAddress)} without`,
    );
  }
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^(::ffff:)?127\.\d+\.\d+\.\d+$/.test(host);
}

function flagOf(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

function variableOf(name: string): string {
  return `TC_${flagOf(name).replaceAll('-', '_').toUpperCase()}`;
}

/** `; did you mean X?` for the known name that differs least, where it differs little. */
function suggestion(received: string, known: readonly string[]): string {
  const ranked = known
    .map((candidate) => ({ candidate, distance: editDistance(received, candidate) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best !== undefined && best.distance <= Math.max(2, received.length / 4)
    ? `; did you mean ${best.candidate}?`
    : '';
}

/** Levenshtein's distance. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const replaced = previous[column - 1]! + (a[row - 1] === b[column - 1] ? 0 : 1);
      current.push(Math.min(previous[column]! + 1, current[column - 1]! + 1, replaced));
    }
    previous = current;
  }
  return previous[b.length]!;
}

/** An address as it is written: `127.0.0.1:50051`, `[::1]:50051`. */
export function formatAddress({ host, port }: ListenAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The settings as `serve --help` lists them. */
export function renderConfigHelp(): string {
  return names
    .map((name) => {
      const { kind, fallback, help, sharedVariable }: Setting<unknown> = settings[name];
      const shown = fallback === '' ? 'none' : fallback;
      const variables = [variableOf(name), ...(sharedVariable === undefined ? [] : [sharedVariable])].join(', ');
      return `  --${flagOf(name)}, ${variables}\n      ${help}\n      ${kind.expected}; default ${shown}`;
    })
    .join('\n');
}

/** The settings as docs/operations.md shows them. */
export function renderConfigMarkdown(): string {
  const rows = names.map((name) => {
    const { kind, fallback, help, reason, sharedVariable }: Setting<unknown> = settings[name];
    const shown = fallback === '' ? 'none' : `\`${fallback}\``;
    const shared = sharedVariable === undefined ? '' : `<br>else \`${sharedVariable}\``;
    return `| \`--${flagOf(name)}\`<br>\`${variableOf(name)}\`${shared} | ${help} | ${kind.expected} | ${shown}: ${reason} |`;
  });
  return [
    'Every setting of `tensor-consensus serve` is a flag (`--flag value` or `--flag=value`) or an environment variable; a flag wins',
    'over the variable, the variable over the default. An unknown flag or a bad value stops the server with one line; an unknown',
    '`TC_` variable is a warning.',
    '',
    '| Flag, variable | Meaning | Allowed | Default and why |',
    '|---|---|---|---|',
    ...rows,
  ].join('\n');
}
