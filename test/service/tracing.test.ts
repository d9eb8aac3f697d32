/** Traces as a collector gets them: from real gRPC calls, over OTLP. */
import { Metadata, type ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CoordinatorClient, matrix, type CoordinatorCallError } from '../../client/client.js';
import { startServer, type RunningServer } from '../../server/start.js';
import { loadConfig } from '../../src/config.js';
import { CoordinatorError } from '../../src/errors.js';
import { errorDetailsOf } from './error-details-of.js';
import { startFakeServer, type FakeServer } from './fake-server.js';
import { startCollector, type CollectedSpan, type Collector } from './otlp-collector.js';
import { floatTensor, rawClient, type RawClient, type RawMessage } from './raw-client.js';
import { SecurityFiles } from './security-files.js';
import { streamClient } from './stream-client.js';

const coordinateSpan = 'tensorconsensus.v1.Coordinator/Coordinate';
const tickSpan = 'tensorconsensus.v1.Coordinator/CoordinateStream';
const stages = ['decode', 'queue', 'pack', 'transfer_in', 'execute', 'transfer_out', 'assign', 'encode'];

/** Distinct for each call, as callers have them. */
function idOf(number: number, digits: number): string {
  return number.toString(16).padStart(digits, 'a');
}

function parentMetadata(number: number, sampled = true, state = ''): Metadata {
  const metadata = new Metadata();
  metadata.set('traceparent', `00-${idOf(number, 32)}-${idOf(number, 16)}-${sampled ? '01' : '00'}`);
  if (state !== '') metadata.set('tracestate', state);
  return metadata;
}

function serverSpans(spans: readonly CollectedSpan[], name = coordinateSpan): CollectedSpan[] {
  return spans.filter((span) => span.name === name);
}

function childrenOf(spans: readonly CollectedSpan[], { traceId, spanId }: CollectedSpan): CollectedSpan[] {
  return spans
    .filter((span) => span.traceId === traceId && span.parentSpanId === spanId)
    .sort((a, b) => a.startMs - b.startMs || a.endMs - b.endMs);
}

function spansOfCall(spans: readonly CollectedSpan[], traceId: string): CollectedSpan {
  const found = serverSpans(spans).filter((span) => span.traceId === traceId);
  expect(found).toHaveLength(1);
  return found[0]!;
}

/** Flags of a server that traces what callers mark, and nothing else. */
function tracedTo({ endpoint }: Collector, ...flags: string[]): string[] {
  return ['--otlp-endpoint', endpoint, '--trace-sample-ratio', '0', '--trace-max-per-second', '100000', ...flags];
}

async function failureOf(call: Promise<unknown>): Promise<ServiceError> {
  return call.then(
    () => expect.unreachable('the call succeeded'),
    (error: unknown) => error as ServiceError,
  );
}

describe('the real server', () => {
  let collector: Collector;
  let server: RunningServer;
  let client: RawClient;
  const request: RawMessage = {
    requestId: 'frame-7',
    agents: floatTensor([
      [0, 0],
      [9, 9],
      [4, 5],
    ]),
    tasks: floatTensor([
      [8, 8],
      [1, 1],
      [5, 5],
    ]),
  };

  beforeAll(async () => {
    collector = await startCollector();
    const { config } = loadConfig(tracedTo(collector, '--log-level', 'silent', '--engine', 'onnx'), {
      TC_GRPC_ADDRESS: '127.0.0.1:0',
      TC_ADMIN_ADDRESS: '127.0.0.1:0',
    });
    server = await startServer(config);
    await server.ready;
    client = rawClient(server.grpcAddress);
    await client.coordinate(request);
  }, 120_000);

  afterAll(async () => {
    client.close();
    await server.close();
    await collector.close();
  });

  test("a call is a span under its caller's, with a child for each stage that lasts as long as the answer says", async () => {
    const metadata = parentMetadata(1, true, 'vendor=x,other=y');
    metadata.set('tc-tenant', 'blue');
    const answer = await client.coordinate(request, { metadata });
    const spans = await collector.until((all) => all.some(({ traceId }) => traceId === idOf(1, 32)));
    const call = spansOfCall(spans, idOf(1, 32));
    expect(call).toMatchObject({ kind: 2, parentSpanId: idOf(1, 16), traceState: 'vendor=x,other=y', status: 0 });
    const execution = answer.execution as Record<string, unknown>;
    expect(call.attributes).toMatchObject({
      'rpc.system': 'grpc',
      'rpc.service': 'tensorconsensus.v1.Coordinator',
      'rpc.method': 'Coordinate',
      'rpc.grpc.status_code': 0,
      'coordinate.code': 'OK',
      'coordinate.request_id': 'frame-7',
      'coordinate.tenant': 'blue',
      'coordinate.policy': 'distance',
      'coordinate.agents': 3,
      'coordinate.tasks': 3,
      'coordinate.engine': 'onnx',
      'coordinate.device': execution.device,
      'coordinate.bucket': execution.bucket,
      'coordinate.batch_size': 1,
      'coordinate.solver': 'exact',
    });
    expect(call.resource).toMatchObject({ 'service.name': 'tensor-consensus', 'telemetry.sdk.language': 'nodejs' });
    const children = childrenOf(spans, call);
    expect(children.map(({ name }) => name)).toEqual(stages);
    const slackMs = 0.01;
    let lastMs = call.startMs;
    for (const { name, kind, startMs, endMs } of children) {
      expect(kind, name).toBe(1);
      expect(startMs, name).toBeGreaterThanOrEqual(lastMs - slackMs);
      expect(endMs, name).toBeGreaterThanOrEqual(startMs);
      lastMs = endMs;
    }
    expect(lastMs).toBeLessThanOrEqual(call.endMs + slackMs);
    const told = execution.stages as { stage: string; microseconds: number }[];
    expect(told.length).toBe(stages.length - 1);
    for (const { stage, microseconds } of told) {
      const { startMs, endMs } = children.find(({ name }) => name === stage)!;
      expect(Math.abs(endMs - startMs - microseconds / 1000), stage).toBeLessThan(slackMs);
    }
    expect(Math.abs(call.startMs - Date.now())).toBeLessThan(60_000);
  });

  test('every call of a batch is linked by the batch, and the batch by each of its calls', async () => {
    const numbers = Array.from({ length: 24 }, (_, at) => 100 + at);
    const traceIds = new Set(numbers.map((number) => idOf(number, 32)));
    await Promise.all(numbers.map((number) => client.coordinate(request, { metadata: parentMetadata(number) })));
    const isOurs = ({ links }: CollectedSpan): boolean => links.some(({ traceId }) => traceIds.has(traceId));
    const spans = await collector.until(
      (all) => serverSpans(all).filter(({ traceId }) => traceIds.has(traceId)).length === numbers.length,
    );
    const batches = spans.filter((span) => span.name === 'batch' && isOurs(span));
    const calls = serverSpans(spans).filter(({ traceId }) => traceIds.has(traceId));
    expect(batches.flatMap(({ links }) => links.map(({ spanId }) => spanId)).sort()).toEqual(
      calls.map(({ spanId }) => spanId).sort(),
    );
    expect(Math.max(...batches.map(({ links }) => links.length))).toBeGreaterThan(1);
    for (const batch of batches) {
      expect(batch).toMatchObject({ parentSpanId: '', kind: 1, status: 0 });
      expect(batch.attributes).toMatchObject({
        'coordinate.batch_size': batch.links.length,
        'coordinate.traced_calls': batch.links.length,
        'coordinate.engine': 'onnx',
      });
      expect(traceIds.has(batch.traceId)).toBe(false);
      const children = childrenOf(spans, batch).map(({ name }) => name);
      expect(children).toEqual(['pack', 'transfer_in', 'execute', 'transfer_out']);
      for (const { spanId } of batch.links) {
        const call = calls.find((candidate) => candidate.spanId === spanId)!;
        expect(call.links).toEqual([{ traceId: batch.traceId, spanId: batch.spanId }]);
        expect(call.attributes['coordinate.batch_size']).toBe(batch.links.length);
      }
    }
  });

  test('each tick of a stream begins a trace, linked to whoever opened the stream and to its batch', async () => {
    const ticks = streamClient(server.grpcAddress);
    const stream = ticks.open({ metadata: parentMetadata(300) });
    for (const requestId of ['tick-1', 'tick-2', 'tick-3']) stream.send({ ...request, requestId });
    stream.call.end();
    expect((await stream.status).code).toBe(0);
    ticks.close();
    const spans = await collector.until((all) => serverSpans(all, tickSpan).length >= 3);
    const found = serverSpans(spans, tickSpan);
    expect(found.map(({ attributes }) => attributes['coordinate.request_id']).sort()).toEqual([
      'tick-1',
      'tick-2',
      'tick-3',
    ]);
    expect(new Set(found.map(({ traceId }) => traceId)).size).toBe(3);
    for (const tick of found) {
      expect(tick).toMatchObject({ parentSpanId: '', kind: 2 });
      expect(tick.traceId).not.toBe(idOf(300, 32));
      expect(tick.links[0]).toEqual({ traceId: idOf(300, 32), spanId: idOf(300, 16) });
      const batch = spans.find(({ name, spanId }) => name === 'batch' && spanId === tick.links[1]?.spanId);
      expect(batch?.links).toContainEqual({ traceId: tick.traceId, spanId: tick.spanId });
      expect(childrenOf(spans, tick).map(({ name }) => name)).toEqual(stages);
    }
  });

  test('histograms show traced calls in the OpenMetrics format, and the same series as plain text', async () => {
    const scrape = async (accept: string): Promise<string> => {
      const response = await fetch(`http://${server.adminAddress}/metrics`, { headers: { accept } });
      expect(response.headers.get('content-type')).toContain(accept.split(';')[0]);
      return response.text();
    };
    await client.coordinate(request, { metadata: parentMetadata(400) });
    const series = (text: string): string[] =>
      text
        .split('\n')
        // What Node says of itself (open timers, kinds of collections) changes all the time.
        .filter((line) => line !== '' && !line.startsWith('#') && !line.startsWith('nodejs_'))
        .map((line) => line.split(' # ')[0]!.replace(/ \S+$/, ''))
        .sort();
    let [open, plain] = ['', ''];
    // What the server does by itself between two scrapes (it loads a program, say) adds series: then both are asked again.
    await expect
      .poll(async () => {
        open = await scrape('application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5');
        plain = await scrape('text/plain;version=0.0.4');
        const [ofOpen, ofPlain] = [series(open), series(plain)];
        return [ofOpen.filter((one) => !ofPlain.includes(one)), ofPlain.filter((one) => !ofOpen.includes(one))];
      })
      .toEqual([[], []]);
    const exemplar = new RegExp(
      `^coordinate_request_duration_seconds_bucket\\{le="[^"]+",code="OK"\\} \\d+ # \\{trace_id="${idOf(400, 32)}",span_id="[0-9a-f]{16}"\\} [\\d.e-]+ \\d+\\.\\d{3}$`,
      'm',
    );
    expect(open).toMatch(exemplar);
    for (const stage of stages) {
      expect(open).toMatch(
        new RegExp(
          `^coordinate_stage_duration_seconds_bucket\\{le="[^"]+",stage="${stage}"\\} \\d+ # \\{trace_id=`,
          'm',
        ),
      );
    }
    expect(open.endsWith('\n# EOF\n')).toBe(true);
    expect(plain).not.toContain('trace_id');
    expect(series(open).length).toBeGreaterThan(100);
  });
});

describe('a server around a fake core', () => {
  let collector: Collector;
  let fake: FakeServer;
  let client: RawClient;

  const start = async (...flags: string[]): Promise<void> => {
    collector = await startCollector();
    fake = await startFakeServer(tracedTo(collector, ...flags));
    client = rawClient(fake.server.grpcAddress, { 'grpc.enable_retries': 0 });
  };
  const stop = async (): Promise<readonly CollectedSpan[]> => {
    client.close();
    await fake.server.close();
    await collector.close();
    return collector.spans;
  };

  test("a failure of ours is the span's; the error and the log line name call and trace", async () => {
    await start();
    fake.core.answersAtOnce = false;
    const call = client.coordinate({ requestId: 'lost' }, { metadata: parentMetadata(1) });
    await fake.core.arrived(1);
    fake.core.calls[0]!.fail(new CoordinatorError('ENGINE_FAILED', 'the engine crashed'));
    const error = await failureOf(call);
    expect(error.details).toBe('the engine crashed');
    expect(errorDetailsOf(error)).toMatchObject({
      reason: 'ENGINE_FAILED',
      metadata: { trace_id: idOf(1, 32) },
      requestId: 'lost',
    });
    expect(fake.logLines.find(({ msg }) => msg === 'the engine crashed')).toMatchObject({
      requestId: 'lost',
      traceId: idOf(1, 32),
      code: 'ENGINE_FAILED',
    });
    const [span, ...others] = (await stop()).filter(({ name }) => name !== 'decode');
    expect(others).toEqual([]);
    expect(span).toMatchObject({ status: 2, statusMessage: 'the engine crashed', parentSpanId: idOf(1, 16) });
    expect(span!.attributes).toMatchObject({
      'coordinate.code': 'ENGINE_FAILED',
      'error.type': 'ENGINE_FAILED',
      'rpc.grpc.status_code': 14,
    });
    expect(span!.events).toEqual([
      {
        name: 'exception',
        attributes: { 'exception.type': 'ENGINE_FAILED', 'exception.message': 'the engine crashed' },
      },
    ]);
  });

  test("a failure of the caller's is recorded and does not count as the server's", async () => {
    await start();
    fake.core.decodeError = CoordinatorError.field('TENSOR_SHAPE', 'agents', 'shape [N,2]', '[3]');
    await failureOf(client.coordinate({}, { metadata: parentMetadata(1) }));
    const spans = await stop();
    expect(spans.map(({ name }) => name)).toEqual([coordinateSpan]);
    expect(spans[0]).toMatchObject({ status: 0, attributes: { 'coordinate.code': 'TENSOR_SHAPE' } });
    expect(spans[0]!.events).toHaveLength(1);
  });

  test('a failed tick tells its trace in the stream', async () => {
    await start();
    fake.core.refuses.set('bad', new CoordinatorError('REQUEST_INVALID', 'no'));
    const ticks = streamClient(fake.server.grpcAddress);
    const stream = ticks.open({ metadata: parentMetadata(1) });
    stream.send({ requestId: 'bad' });
    await stream.received(1);
    stream.call.end();
    await stream.status;
    ticks.close();
    const [tick] = serverSpans(await stop(), tickSpan);
    expect(stream.answers[0]!.error).toMatchObject({ reason: 'REQUEST_INVALID', traceId: tick!.traceId });
    expect(fake.logLines.find(({ requestId }) => requestId === 'bad')).toMatchObject({ traceId: tick!.traceId });
  });

  test('what the client is given is sent with calls and streams, and its errors name their trace', async () => {
    await start();
    let number = 0;
    const given: string[] = [];
    const ours = new CoordinatorClient(fake.server.grpcAddress, {
      retries: 0,
      metadata: () => {
        const traceparent = `00-${idOf(++number, 32)}-${idOf(number, 16)}-01`;
        given.push(traceparent);
        return { traceparent };
      },
    });
    fake.core.refuses.set('bad', new CoordinatorError('REQUEST_INVALID', 'no'));
    const agents = matrix(1, 2, [0, 0]);
    await ours.coordinate({ agents });
    const refused = (await failureOf(ours.coordinate({ agents, requestId: 'bad' }))) as unknown as CoordinatorCallError;
    expect(refused).toMatchObject({ reason: 'REQUEST_INVALID', traceId: idOf(2, 32) });
    const stream = ours.openStream();
    await stream.send({ agents });
    await stream.close();
    ours.close();
    const spans = await stop();
    expect(serverSpans(spans).map(({ traceId, parentSpanId }) => [traceId, parentSpanId])).toEqual([
      [idOf(1, 32), idOf(1, 16)],
      [idOf(2, 32), idOf(2, 16)],
    ]);
    expect(serverSpans(spans, tickSpan).map(({ links }) => links[0]?.traceId)).toEqual([idOf(3, 32)]);
    expect(given).toHaveLength(3);
  });

  test('a call that is refused before it is read is not traced, and its error and log line name the trace of the caller', async () => {
    const files = new SecurityFiles();
    files.write('quota.json', JSON.stringify({ tenants: { a: { requestsPerSecond: 0.01 } } }));
    await start('--quota-file', files.path('quota.json'));
    const metadataOfCall = (number: number): Metadata => {
      const metadata = parentMetadata(number);
      metadata.set('tc-tenant', 'a');
      return metadata;
    };
    await client.coordinate({}, { metadata: metadataOfCall(1) });
    const error = await failureOf(client.coordinate({}, { metadata: metadataOfCall(2) }));
    files.remove();
    expect(errorDetailsOf(error)).toMatchObject({ reason: 'QUOTA_EXCEEDED', metadata: { trace_id: idOf(2, 32) } });
    expect(fake.logLines.find(({ code }) => code === 'QUOTA_EXCEEDED')).toMatchObject({ traceId: idOf(2, 32) });
    const traced = serverSpans(await stop()).map(({ traceId }) => traceId);
    expect(traced).toEqual([idOf(1, 32)]);
  });

  test('what callers decide holds: marked calls are traced at ratio 0, unmarked ones are not at ratio 1', async () => {
    await start();
    await client.coordinate({ requestId: 'unmarked' });
    await client.coordinate({ requestId: 'left out' }, { metadata: parentMetadata(1, false) });
    await client.coordinate({ requestId: 'marked' }, { metadata: parentMetadata(2) });
    const atZero = serverSpans(await stop());
    expect(atZero.map(({ attributes }) => attributes['coordinate.request_id'])).toEqual(['marked']);

    collector = await startCollector();
    fake = await startFakeServer(['--otlp-endpoint', collector.endpoint, '--trace-sample-ratio', '1']);
    client = rawClient(fake.server.grpcAddress);
    await client.coordinate({ requestId: 'unmarked' });
    await client.coordinate({ requestId: 'left out' }, { metadata: parentMetadata(1, false) });
    const broken = new Metadata();
    broken.set('traceparent', '00-this-is-none');
    await client.coordinate({ requestId: 'broken' }, { metadata: broken });
    const atOne = serverSpans(await stop());
    expect(atOne.map(({ attributes }) => attributes['coordinate.request_id'])).toEqual(['unmarked', 'broken']);
    for (const { parentSpanId } of atOne) expect(parentSpanId).toBe('');
  });

  test('callers cannot have more calls traced than the server allows in a second', async () => {
    collector = await startCollector();
    // One at first, and one for each second that the calls take.
    const flags = ['--otlp-endpoint', collector.endpoint, '--trace-max-per-second', '1'];
    fake = await startFakeServer(flags);
    client = rawClient(fake.server.grpcAddress);
    const startMs = performance.now();
    for (let number = 1; number <= 40; number++) await client.coordinate({}, { metadata: parentMetadata(number) });
    const seconds = (performance.now() - startMs) / 1000;
    const traced = serverSpans(await stop()).length;
    expect(traced).toBeGreaterThanOrEqual(1);
    expect(traced).toBeLessThanOrEqual(1 + Math.ceil(seconds));
  });

  test('a collector that never answers costs spans, which are counted and told once, and no call', async () => {
    collector = await startCollector(null);
    fake = await startFakeServer(tracedTo(collector));
    client = rawClient(fake.server.grpcAddress);
    // Three spans each; 4096 may wait, and every ten seconds 128 of them are given up.
    for (let round = 0; round < 16; round++) {
      const calls = Array.from({ length: 100 }, (_, at) =>
        client.coordinate({}, { metadata: parentMetadata(round * 100 + at + 1) }),
      );
      expect(await Promise.all(calls)).toHaveLength(100);
    }
    const metrics = await fake.server.registry.metrics();
    const dropped = Number(/^coordinate_trace_spans_total\{result="dropped"\} (\d+)$/m.exec(metrics)?.[1]);
    expect(dropped).toBeGreaterThan(0);
    expect(fake.logLines.filter(({ msg }) => msg === 'traces are lost')).toHaveLength(1);
    // The drain gives the collector two seconds; without that bound this would take ten.
    await stop();
    expect(fake.logLines.some(({ msg }) => msg === 'closed')).toBe(true);
  }, 60_000);

  test('spans that the collector refuses are counted as failed, and told once a minute', async () => {
    collector = await startCollector(400);
    fake = await startFakeServer(tracedTo(collector));
    client = rawClient(fake.server.grpcAddress);
    await client.coordinate({}, { metadata: parentMetadata(1) });
    const failed = async (): Promise<number> =>
      Number(
        /^coordinate_trace_spans_total\{result="failed"\} (\d+)$/m.exec(await fake.server.registry.metrics())?.[1] ?? 0,
      );
    await expect.poll(failed, { timeout: 20_000 }).toBe(3);
    await client.coordinate({}, { metadata: parentMetadata(2) });
    await expect.poll(failed, { timeout: 20_000 }).toBe(6);
    expect(fake.logLines.filter(({ msg }) => msg === 'traces are lost')).toHaveLength(1);
    await stop();
  });

  test('the access log tells of good calls at info, with the trace where the caller has one, and without an endpoint', async () => {
    collector = await startCollector();
    fake = await startFakeServer(['--access-log', '1']);
    client = rawClient(fake.server.grpcAddress);
    await client.coordinate({ requestId: 'a' }, { metadata: parentMetadata(1) });
    await client.coordinate({ requestId: 'b' });
    await stop();
    const lines = fake.logLines.filter(({ msg }) => msg === 'call answered');
    expect(lines.map(({ requestId, traceId }) => [requestId, traceId])).toEqual([
      ['a', idOf(1, 32)],
      ['b', undefined],
    ]);
    expect(lines[0]).toMatchObject({ level: 30, method: 'Coordinate', policy: 'distance', agents: 1, engine: 'onnx' });
    expect(collector.requests).toBe(0);
  });
});
