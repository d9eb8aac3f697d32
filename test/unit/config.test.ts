import { expect, test } from 'vitest';
import { ConfigError, formatAddress, loadConfig, renderConfigHelp, type Config } from '../../src/config.js';

function configOf(argv: string[], env: Record<string, string> = {}): Config {
  return loadConfig(argv, env).config;
}

function refusalOf(argv: string[], env: Record<string, string> = {}): string {
  try {
    loadConfig(argv, env);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).message;
  }
  throw new Error('the settings were accepted');
}

test('nothing given: the documented defaults', () => {
  const { config, warnings } = loadConfig([], {});
  expect(warnings).toEqual([]);
  expect(config).toMatchObject({
    grpcAddress: { host: '127.0.0.1', port: 50051 },
    adminAddress: { host: '127.0.0.1', port: 9464 },
    engine: 'auto',
    pjrtPlugin: null,
    policyDir: null,
    defaultPolicy: 'distance',
    maxBatch: 32,
    maxMessageMb: 64,
    engineThreads: 1,
    onnxProviders: ['cpu'],
    logLevel: 'info',
    logFormat: 'auto',
  });
});

test('a flag wins over the variable, the variable over the default', () => {
  expect(configOf(['--max-batch', '8'], { TC_MAX_BATCH: '16' }).maxBatch).toBe(8);
  expect(configOf(['--max-batch=8'], { TC_MAX_BATCH: '16' }).maxBatch).toBe(8);
  expect(configOf([], { TC_MAX_BATCH: '16' }).maxBatch).toBe(16);
  expect(configOf([], { TC_MAX_BATCH: '' }).maxBatch).toBe(32);
});

test('the endpoint of traces is read from the variable that collectors are told by, too: after our own', () => {
  const shared = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318' };
  expect(configOf([]).otlpEndpoint).toBeNull();
  expect(configOf([], shared).otlpEndpoint).toBe('http://collector:4318');
  expect(configOf([], { ...shared, TC_OTLP_ENDPOINT: 'https://other/otlp' }).otlpEndpoint).toBe('https://other/otlp');
  expect(configOf(['--otlp-endpoint', 'http://127.0.0.1:1'], shared).otlpEndpoint).toBe('http://127.0.0.1:1');
  expect(configOf([], { OTEL_EXPORTER_OTLP_ENDPOINT: '' }).otlpEndpoint).toBeNull();
  expect(refusalOf([], { OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4318' })).toMatch(/^OTEL_EXPORTER_OTLP_ENDPOINT: /);
});

test.each(['collector:4318', 'ftp://collector', 'http://name:word@collector', 'http://collector?key=1', 'http://'])(
  'no traces are sent to %s: secrets belong into headers',
  (endpoint) => {
    expect(refusalOf(['--otlp-endpoint', endpoint])).toMatch(/^--otlp-endpoint: expected an http:/);
  },
);

test('the names that clients and operators rely on are read from flag and variable', () => {
  const flags = configOf([
    ...['--grpc-address', '0.0.0.0:0', '--admin-address', '[::1]:9000', '--engine', 'onnx', '--policy-dir', '/p'],
    ...['--allow-plaintext'],
    ...['--log-level', 'debug', '--max-queue-delay-ms', '0.5', '--max-batch', '4'],
  ]);
  const variables = configOf([], {
    TC_GRPC_ADDRESS: '0.0.0.0:0',
    TC_ALLOW_PLAINTEXT: 'true',
    TC_ADMIN_ADDRESS: '[::1]:9000',
    TC_ENGINE: 'onnx',
    TC_POLICY_DIR: '/p',
    TC_LOG_LEVEL: 'debug',
    TC_MAX_QUEUE_DELAY_MS: '0.5',
    TC_MAX_BATCH: '4',
  });
  expect(flags).toEqual(variables);
  expect(flags).toMatchObject({
    grpcAddress: { host: '0.0.0.0', port: 0 },
    adminAddress: { host: '::1', port: 9000 },
    engine: 'onnx',
    policyDir: '/p',
    logLevel: 'debug',
    maxQueueDelayMs: 0.5,
    maxBatch: 4,
  });
});

test.each([
  [['--max-batch', 'many'], {}, "--max-batch: expected a whole number from 1 to 32, received 'many'"],
  [['--max-batch', '33'], {}, "--max-batch: expected a whole number from 1 to 32, received '33'"],
  [['--max-batch', '1.5'], {}, "--max-batch: expected a whole number from 1 to 32, received '1.5'"],
  [['--max-batch', '-1'], {}, "--max-batch: expected a whole number from 1 to 32, received '-1'"],
  [['--max-batch'], {}, '--max-batch: expected a whole number from 1 to 32, received nothing'],
  [['--max-batch', '--engine', 'onnx'], {}, '--max-batch: expected a whole number from 1 to 32, received nothing'],
  [['--max-batch', '4', '--max-batch', '5'], {}, '--max-batch is given twice'],
  [[], { TC_MAX_BATCH: '0' }, "TC_MAX_BATCH: expected a whole number from 1 to 32, received '0'"],
  [['--engine', 'gpu'], {}, "--engine: expected one of auto, xla, onnx, received 'gpu'"],
  [
    ['--pjrt-plugin', '/a.so', '--engine', 'onnx'],
    {},
    '--pjrt-plugin: expected --engine auto or xla beside it, received onnx',
  ],
  [
    ['--grpc-address', '0.0.0.0:50051'],
    {},
    '--grpc-address: expected --tls-cert and --tls-key for an address that is not loopback, or --allow-plaintext where something in front encrypts; received 0.0.0.0:50051 without',
  ],
  [['--tls-cert', '/c.pem'], {}, '--tls-cert: expected --tls-key beside it, received nothing'],
  [['--tls-key', '/k.pem'], {}, '--tls-key: expected --tls-cert beside it, received nothing'],
  [['--tls-client-ca', '/a.pem'], {}, '--tls-client-ca: expected --tls-cert and --tls-key beside it, received nothing'],
  [['--allow-plaintext=perhaps'], {}, "--allow-plaintext: expected true or false, received 'perhaps'"],
  [['--max-btach', '4'], {}, 'unknown flag --max-btach; did you mean --max-batch?'],
  [['--colour', 'red'], {}, 'unknown flag --colour'],
  [['serve'], {}, "unexpected argument 'serve'"],
  [
    ['--onnx-providers', 'cpu,tpu'],
    {},
    "--onnx-providers: expected a comma-separated list of cuda, cpu, received 'cpu,tpu'",
  ],
  [
    ['--onnx-providers', 'cpu,cpu'],
    {},
    "--onnx-providers: expected a comma-separated list of cuda, cpu, received 'cpu,cpu'",
  ],
] as [string[], Record<string, string>, string][])('refuses %j %j in one line', (argv, env, message) => {
  expect(refusalOf(argv, env)).toBe(message);
});

test.each(['50051', 'localhost', ':50051', 'localhost:65536', 'localhost:-1', '::1:50051', '[::1]', 'a b:1', ''])(
  "refuses the address '%s'",
  (text) => {
    expect(refusalOf([`--grpc-address=${text}`])).toMatch(/^--grpc-address: expected HOST:PORT .*, received '/);
  },
);

test('an unknown TC_ variable is a warning, other variables are nobody’s business', () => {
  const { warnings } = loadConfig([], { TC_MAX_BACH: '4', TC_COLOUR: 'red', PATH: '/bin' });
  expect(warnings).toEqual([
    'unknown environment variable TC_MAX_BACH; did you mean TC_MAX_BATCH?',
    'unknown environment variable TC_COLOUR',
  ]);
});

test('an address is written as it was read', () => {
  for (const text of ['127.0.0.1:50051', '[::1]:0', 'localhost:80']) {
    expect(formatAddress(configOf(['--grpc-address', text]).grpcAddress)).toBe(text);
  }
});

test.each(['10.0.0.1:1', '[::]:1', 'example.org:1', '127.0.0.1.example.org:1', '[::ffff:10.0.0.1]:1'])(
  'plaintext on %s is refused unless it is asked for by name, or there is TLS',
  (address) => {
    expect(refusalOf(['--grpc-address', address])).toMatch(/^--grpc-address: expected --tls-cert/);
    expect(configOf(['--grpc-address', address, '--allow-plaintext', '--max-batch', '4'])).toMatchObject({
      allowPlaintext: true,
      maxBatch: 4,
    });
    expect(configOf(['--grpc-address', address, '--tls-cert', '/c', '--tls-key', '/k']).tlsCert).toBe('/c');
  },
);

test.each(['127.0.0.1:1', '127.8.0.1:1', '[::1]:1', 'localhost:1'])(
  'plaintext on %s is nothing to ask for',
  (address) => {
    expect(configOf(['--grpc-address', address]).allowPlaintext).toBe(false);
  },
);

test('every setting is in the help with its flag, variable and default', () => {
  const help = renderConfigHelp();
  for (const name of Object.keys(configOf([]))) {
    const flag = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    expect(help).toContain(`--${flag}, TC_${flag.replaceAll('-', '_').toUpperCase()}`);
  }
});
