/** The admin address in hostile hands. */
import { connect } from 'node:net';
import { eventually, startLoad } from './known-answers.js';
import { expectThat, type Scenario } from './scenario.js';
import { openFiles, startChaosServer } from './server.js';

const connections = 500;
const scrapes = 200;

/** What comes back on a connection of its own, up to its end. */
function exchange(address: string, bytes: string | Buffer): Promise<string> {
  const [host, port] = address.split(':');
  return new Promise((resolve) => {
    let text = '';
    const socket = connect(Number(port), host);
    socket.on('data', (data) => (text += data.toString('latin1')));
    socket.on('error', () => resolve(text));
    socket.on('close', () => resolve(text));
    socket.end(bytes);
  });
}

const abuses: readonly (readonly [string, string | Buffer, RegExp])[] = [
  ['POST', 'POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n', /^HTTP\/1.1 4\d\d/],
  ['a path out of the folder', 'GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n', /^HTTP\/1.1 404/],
  ['a long path', `GET /${'x'.repeat(100_000)} HTTP/1.1\r\nHost: x\r\n\r\n`, /^HTTP\/1.1 4\d\d/],
  ['long headers', `GET /livez HTTP/1.1\r\nX: ${'x'.repeat(100_000)}\r\n\r\n`, /^HTTP\/1.1 431/],
  ['no HTTP', Buffer.from([0, 1, 2, 255, 254, 13, 10, 13, 10]), /^(HTTP\/1.1 400|$)/],
  [
    'two lengths',
    'POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n',
    /^HTTP\/1.1 400/,
  ],
  ['a tunnel', 'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n', /^(HTTP\/1.1 4\d\d|$)/],
];

export const adminAbuse: Scenario = {
  name: 'abuse of the admin address: methods, paths, headers, stalled requests, a storm of scrapes',
  promise: 'each is refused or cut off within seconds, nothing leaks, and calls do not notice',
  async run() {
    const server = await startChaosServer({ flags: ['--engine', 'onnx', '--max-batch', '1'] });
    const { adminAddress, grpcAddress } = server;
    const load = startLoad(grpcAddress, 4);
    await load.more(50);
    const before = openFiles(server);
    for (const [what, bytes, wanted] of abuses) {
      const answer = await exchange(adminAddress, bytes);
      expectThat(wanted.test(answer), `${what}: ${answer.slice(0, 60)}`);
      expectThat(!answer.includes('root:'), `${what} shows a file`);
    }
    const [host, port] = adminAddress.split(':');
    const stalled = Array.from({ length: connections }, () => {
      const socket = connect(Number(port), host);
      socket.on('error', () => undefined);
      socket.resume();
      socket.write('GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ');
      return new Promise<void>((resolve) => socket.once('close', () => resolve()));
    });
    const statuses = await Promise.all(
      Array.from({ length: scrapes }, async () => (await fetch(`http://${adminAddress}/metrics`)).text()),
    );
    expectThat(
      statuses.every((text) => text.includes('coordinate_request_duration_seconds')),
      'every scrape is answered',
    );
    await load.more(50);
    await Promise.all(stalled);
    let after = openFiles(server);
    await eventually(
      'connections are closed',
      () => (after = openFiles(server)) === null || before === null || after <= before + 5,
    );
    expectThat((await fetch(`http://${adminAddress}/livez`)).status === 200, 'it lives');
    const tally = await load.stop();
    server.kill('SIGTERM');
    expectThat((await server.exited) === 0, 'it drains as usual');
    expectThat(tally.failedCount === 0, tally.failures.join('; '));
    return {
      seen: `${abuses.length} kinds of abuse refused, ${connections} stalled requests cut off, ${scrapes} scrapes at once answered; ${before ?? '?'} open files before, ${after ?? '?'} after`,
      tally,
    };
  },
};
