/** Clients that are slow, many, or speak no HTTP/2 that makes sense, beside well-behaved ones on connections of their own. */
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2, constants } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { seededUniform } from '../seeded-normal.js';
import { coordinateMethod } from '../wire-codec.js';
import { eventually, type Load, pause, startLoad } from './known-answers.js';
import { expectThat, type Observation, type Scenario } from './scenario.js';
import { type ChaosServer, openFiles, startChaosServer } from './server.js';

const path = '/tensorconsensus.v1.Coordinator/Coordinate';
const headers = { ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' };
const answersAfter = 50;

/** What a scenario does to a server under load; the first part of what was seen. */
type Abuse = (server: ChaosServer, load: Load) => Promise<string>;

/** Runs `abuse` beside well-behaved callers, none of whose calls may fail; connections and files are back to what they were afterwards. */
async function beside(flags: readonly string[], abuse: Abuse): Promise<Observation> {
  const server = await startChaosServer({ flags: ['--engine', 'onnx', '--max-batch', '1', ...flags] });
  const load = startLoad(server.grpcAddress, 4);
  await load.more(answersAfter);
  const before = openFiles(server);
  const seen = await abuse(server, load);
  await load.more(answersAfter);
  let after = openFiles(server);
  if (before !== null) {
    await eventually(
      'connections are closed',
      () => (after = openFiles(server)) === null || after <= before + 5,
      90_000,
    );
  }
  const tally = await load.stop();
  server.kill('SIGTERM');
  expectThat((await server.exited) === 0, 'it drains as usual');
  expectThat(tally.failedCount === 0, tally.failures.join('; '));
  const files = before === null ? '' : `; ${before} open files before, ${after ?? '?'} after`;
  return { seen: seen + files, tally };
}

function portOf(address: string): { host: string; port: number } {
  const [host, port] = address.split(':');
  return { host: host!, port: Number(port) };
}

function rawSocket(address: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(portOf(address));
    // What the server does to it is not our failure.
    socket.on('error', () => undefined);
    socket.once('connect', () => resolve(socket));
    socket.once('error', reject);
  });
}

function http2Session(
  address: string,
  options: { settings?: object; maxSessionMemory?: number } = {},
): ClientHttp2Session {
  const session = connectHttp2(`http://${address}`, options);
  session.on('error', () => undefined);
  return session;
}

/** Resolves with the grpc-status, or null where the stream ended without. */
function statusOf(stream: ClientHttp2Stream): Promise<number | null> {
  return new Promise((resolve) => {
    const read = (found: Record<string, unknown>): void => {
      if (found['grpc-status'] !== undefined) resolve(Number(found['grpc-status']));
    };
    stream.on('response', read);
    stream.on('trailers', read);
    stream.on('error', () => undefined);
    stream.on('close', () => resolve(null));
    stream.resume();
  });
}

/** A gRPC message: not compressed, with its length. */
function framed(message: Uint8Array, claimedBytes = message.length, compressed = 0): Buffer {
  const header = Buffer.alloc(5);
  header[0] = compressed;
  header.writeUInt32BE(claimedBytes >>> 0, 1);
  return Buffer.concat([header, message]);
}

const stalledCalls = 100;
const deadlineExceeded = 4;

export const slowClients: Scenario = {
  name: 'clients that stall in the middle of a request, send a byte at a time, and never read their answers',
  promise: 'stalled calls end at the longest deadline, unread answers at their limit, and nobody else notices',
  run: () =>
    beside(['--max-deadline-ms', '3000', '--slow-reader-timeout-ms', '2000'], async ({ grpcAddress }) => {
      const stalled = http2Session(grpcAddress);
      const request = coordinateMethod.requestSerialize({
        utility: { shape: [64, 64], values: new Array<number>(64 * 64).fill(1) },
        operators: ['ASSIGNMENT'],
        assignment: { forms: ['PLAN'] },
      });
      const statuses = Array.from({ length: stalledCalls }, (_, i) => {
        const stream = stalled.request(headers);
        if (i % 2 === 0) stream.write(framed(request).subarray(0, 1000));
        return statusOf(stream);
      });
      const trickle = stalled.request(headers);
      const trickled = statusOf(trickle);
      const bytes = framed(request);
      let at = 0;
      const timer = setInterval(() => void trickle.write(bytes.subarray(at, ++at)), 10);
      // Takes no byte of its answers: neither the session's window nor the socket is read.
      const deaf = http2Session(grpcAddress, { settings: { initialWindowSize: 0 } });
      for (let i = 0; i < stalledCalls; i++)
        deaf
          .request(headers)
          .on('error', () => undefined)
          .end(framed(request));
      const ended = await Promise.all([...statuses, trickled]);
      clearInterval(timer);
      const late = ended.filter((code) => code === deadlineExceeded).length;
      expectThat(late === ended.length, `${late} of ${ended.length} stalled calls ended with DEADLINE_EXCEEDED`);
      await eventually('the connection that reads nothing is closed', () => deaf.destroyed || deaf.closed);
      stalled.destroy();
      deaf.destroy();
      return `${late} stalled calls ended with DEADLINE_EXCEEDED, a connection with ${stalledCalls} unread answers was closed`;
    }),
};

const idleSockets = 2000;
const idleSessions = 300;
const resets = 20_000;
const resetsAtATime = 200;

export const floods: Scenario = {
  name: 'floods: idle connections, endless headers, calls that are reset as soon as they are sent',
  promise: 'well-behaved callers are answered throughout, and what was opened is closed again',
  run: () =>
    beside(
      ['--max-deadline-ms', '3000', '--keepalive-time-ms', '1000', '--keepalive-timeout-ms', '1000'],
      async ({ grpcAddress }, load) => {
        const sockets = await Promise.all(Array.from({ length: idleSockets }, () => rawSocket(grpcAddress)));
        const sessions = Array.from({ length: idleSessions }, () => http2Session(grpcAddress));
        await load.more(answersAfter);
        // More header bytes than are taken, in one call and in many names.
        const wordy = http2Session(grpcAddress);
        const long = statusOf(wordy.request({ ...headers, 'x-long': 'x'.repeat(60_000) }));
        const many = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`x-${i}`, 'y']));
        const numberless = http2Session(grpcAddress);
        const numerous = statusOf(numberless.request({ ...headers, ...many }));
        let sent = 0;
        let reset = http2Session(grpcAddress);
        while (sent < resets) {
          if (reset.destroyed) reset = http2Session(grpcAddress);
          for (let i = 0; i < resetsAtATime && !reset.destroyed; i++, sent++) {
            const stream = reset.request(headers);
            stream.on('error', () => undefined);
            stream.close(constants.NGHTTP2_CANCEL);
          }
          await pause(5);
        }
        await load.more(answersAfter);
        await Promise.all([long, numerous]);
        for (const socket of sockets) socket.destroy();
        for (const session of [...sessions, wordy, numberless, reset]) session.destroy();
        return `${idleSockets} idle sockets, ${idleSessions} idle HTTP/2 sessions, 5000 headers, ${sent} calls reset at once`;
      },
    ),
};

const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const noiseConnections = 400;

function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Uint8Array,
  claimedBytes = payload.length,
): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(claimedBytes, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

/** What a peer may say that no peer should. */
function* nonsense(): Generator<Buffer> {
  const uniform = seededUniform(9);
  const random = (length: number) => Buffer.from(Array.from({ length }, () => Math.floor(256 * uniform())));
  const settings = frame(4, 0, 0, Buffer.alloc(0));
  yield Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  yield Buffer.from([0x16, 3, 1, 2, 0, 1]); // a TLS hello
  yield preface.subarray(0, 10);
  yield Buffer.concat([preface, frame(4, 0, 0, Buffer.alloc(0), 0xffffff)]);
  yield Buffer.concat([preface, frame(4, 0, 1, Buffer.alloc(6))]); // settings of a stream
  yield Buffer.concat([preface, frame(4, 0, 0, Buffer.alloc(5))]); // settings of an odd length
  yield Buffer.concat([preface, settings, frame(0, 1, 1, Buffer.alloc(10))]); // data of no stream
  yield Buffer.concat([preface, settings, frame(8, 0, 0, Buffer.alloc(4))]); // a window of 0 more
  yield Buffer.concat([preface, settings, frame(1, 4, 2, random(20))]); // headers of an even stream
  yield Buffer.concat([
    preface,
    settings,
    frame(1, 0, 1, Buffer.alloc(0)),
    ...Array.from({ length: 1000 }, () => frame(9, 0, 1, Buffer.alloc(0))),
  ]);
  yield Buffer.concat([preface, settings, ...Array.from({ length: 20_000 }, () => frame(6, 0, 0, Buffer.alloc(8)))]); // pings
  yield Buffer.concat([preface, ...Array.from({ length: 20_000 }, () => settings)]);
  for (let i = 0; i < noiseConnections; i++) {
    const frames = Array.from({ length: 20 }, () =>
      frame(
        Math.floor(uniform() * 11),
        Math.floor(uniform() * 256),
        Math.floor(uniform() * 8),
        random(Math.floor(uniform() * 64)),
      ),
    );
    yield Buffer.concat([preface, settings, ...frames]);
  }
}

const refusedStatuses = [3, 4, 8, 12, 13];

export const malformed: Scenario = {
  name: 'malformed and oversized HTTP/2, gRPC framing and protobuf on the raw socket',
  promise: 'each connection or call is refused, none crashes the server, and nobody else notices',
  run: () =>
    beside(['--max-message-mb', '4', '--max-deadline-ms', '5000'], async ({ grpcAddress }, load) => {
      let connections = 0;
      for (const bytes of nonsense()) {
        const socket = await rawSocket(grpcAddress);
        socket.resume();
        socket.end(bytes);
        connections++;
        if (connections % 50 === 0) await load.more(1);
      }
      const session = http2Session(grpcAddress);
      const send = (bytes: Buffer, changed: Record<string, string> = {}): Promise<number | null> => {
        const stream = session.request({ ...headers, ...changed });
        const ended = statusOf(stream);
        stream.end(bytes);
        return ended;
      };
      const message = coordinateMethod.requestSerialize({ agents: { shape: [2, 2], values: [1, 2, 3, 4] } });
      const uniform = seededUniform(10);
      const noise = Buffer.from(Array.from({ length: 1000 }, () => Math.floor(256 * uniform())));
      const sent = [
        send(Buffer.alloc(0)),
        send(Buffer.from([0, 0])),
        send(framed(message, 0xffffffff)),
        send(framed(message, message.length + 1)),
        send(framed(message, message.length, 1)),
        send(framed(message, message.length, 1), { 'grpc-encoding': 'gzip' }),
        send(framed(noise), { 'grpc-encoding': 'no-such' }),
        send(framed(noise)),
        send(framed(Buffer.alloc(5 << 20))),
        send(Buffer.concat([framed(message), framed(message)])),
        send(framed(message), { 'grpc-timeout': 'soon' }),
        send(framed(message), { 'content-type': 'text/html' }),
        send(framed(message), { ':path': '/no/such' }),
        send(framed(message), { ':path': `/${'x'.repeat(8000)}` }),
        send(framed(message.subarray(0, -3))),
        ...Array.from({ length: 200 }, (_, i) => send(framed(noise.subarray(i, 5 * i)))),
      ];
      const statuses = await Promise.all(sent);
      session.destroy();
      const refused = statuses.filter((code) => code !== null && refusedStatuses.includes(code)).length;
      const answered = statuses.filter((code) => code === 0).length;
      const unknown = statuses.filter((code) => code !== null && code !== 0 && !refusedStatuses.includes(code));
      expectThat(unknown.length === 0, `statuses ${unknown.join(', ')}`);
      expectThat(refused > 100, `${refused} of ${statuses.length} malformed calls refused`);
      return `${connections} connections of nonsense; of ${statuses.length} malformed calls ${refused} refused with a status, ${answered} answered, ${statuses.length - refused - answered} reset`;
    }),
};
