/** A collector of traces: takes OTLP over HTTP, read with the numbers of the published proto, written down apart from the exporter's. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import protobuf from 'protobufjs';

const request = protobuf
  .parse(
    `
  syntax = "proto3";
  message Request { repeated ResourceSpans resource_spans = 1; }
  message ResourceSpans { Resource resource = 1; repeated ScopeSpans scope_spans = 2; }
  message Resource { repeated KeyValue attributes = 1; }
  message ScopeSpans { repeated Span spans = 2; }
  message Span {
    bytes trace_id = 1; bytes span_id = 2; string trace_state = 3; bytes parent_span_id = 4; string name = 5; int32 kind = 6;
    fixed64 start_time_unix_nano = 7; fixed64 end_time_unix_nano = 8; repeated KeyValue attributes = 9;
    repeated Event events = 11; repeated Link links = 13; Status status = 15;
  }
  message Event { fixed64 time_unix_nano = 1; string name = 2; repeated KeyValue attributes = 3; }
  message Link { bytes trace_id = 1; bytes span_id = 2; string trace_state = 3; }
  message Status { string message = 2; int32 code = 3; }
  message KeyValue { string key = 1; AnyValue value = 2; }
  message AnyValue { oneof value { string string_value = 1; bool bool_value = 2; int64 int_value = 3; double double_value = 4; } }
`,
  )
  .root.lookupType('Request');

export interface CollectedSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** '' where it begins a trace. */
  readonly parentSpanId: string;
  readonly traceState: string;
  readonly name: string;
  /** 1 internal, 2 server. */
  readonly kind: number;
  /** Since 1970. */
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
  readonly events: readonly { readonly name: string; readonly attributes: Readonly<Record<string, unknown>> }[];
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
  /** 0 unset, 2 error. */
  readonly status: number;
  readonly statusMessage: string;
  readonly resource: Readonly<Record<string, string | number | boolean>>;
}

export interface Collector {
  /** What `--otlp-endpoint` takes. */
  readonly endpoint: string;
  readonly spans: CollectedSpan[];
  /** Messages that came, whatever they were answered with. */
  readonly requests: number;
  /** Resolves with all spans once `isThere` says that they are there. Rejects after 20 s. */
  until(isThere: (spans: readonly CollectedSpan[]) => boolean): Promise<readonly CollectedSpan[]>;
  close(): Promise<void>;
}

/** `status` answers other than 200 keep no spans; null: it takes messages and never answers. */
export async function startCollector(status: number | null = 200): Promise<Collector> {
  const spans: CollectedSpan[] = [];
  let requests = 0;
  const server = createServer((incoming, response) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      requests++;
      if (status === null) return;
      if (incoming.url !== '/v1/traces' || incoming.method !== 'POST') response.statusCode = 404;
      else response.statusCode = status;
      if (response.statusCode === 200) spans.push(...spansIn(Buffer.concat(chunks)));
      response.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    endpoint: `http://127.0.0.1:${port}`,
    spans,
    get requests() {
      return requests;
    },
    async until(isThere) {
      const deadline = Date.now() + 20_000;
      while (!isThere(spans)) {
        if (Date.now() > deadline) throw new Error(`the spans did not come; there are ${JSON.stringify(spans)}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      return spans;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** A message as protobufjs gives it. */
type Plain = Readonly<Record<string, unknown>>;

function spansIn(bytes: Buffer): CollectedSpan[] {
  const message = request.toObject(request.decode(bytes), { longs: String, defaults: true, bytes: Buffer });
  const found: CollectedSpan[] = [];
  for (const { resource, scopeSpans } of message.resourceSpans as Plain[]) {
    const ofResource = attributesOf((resource as Plain).attributes);
    for (const { spans } of scopeSpans as Plain[]) {
      for (const span of spans as Plain[]) found.push(spanOf(span, ofResource));
    }
  }
  return found;
}

function spanOf(span: Plain, resource: CollectedSpan['resource']): CollectedSpan {
  const status = span.status as { code: number; message: string } | null;
  return {
    ...identityOf(span),
    parentSpanId: hex(span.parentSpanId),
    traceState: span.traceState as string,
    name: span.name as string,
    kind: span.kind as number,
    startMs: Number(span.startTimeUnixNano) / 1e6,
    endMs: Number(span.endTimeUnixNano) / 1e6,
    attributes: attributesOf(span.attributes),
    events: (span.events as Plain[]).map(({ name, attributes }) => ({
      name: name as string,
      attributes: attributesOf(attributes),
    })),
    links: (span.links as Plain[]).map(identityOf),
    status: status?.code ?? 0,
    statusMessage: status?.message ?? '',
    resource,
  };
}

function identityOf({ traceId, spanId }: Plain): { traceId: string; spanId: string } {
  return { traceId: hex(traceId), spanId: hex(spanId) };
}

function attributesOf(list: unknown): Record<string, string | number | boolean> {
  const entries = (list as { key: string; value: Record<string, string | number | boolean> }[]).map(
    ({ key, value }) => {
      const { stringValue, boolValue, intValue, doubleValue } = value;
      return [key, stringValue ?? boolValue ?? doubleValue ?? Number(intValue)] as const;
    },
  );
  return Object.fromEntries(entries);
}

function hex(bytes: unknown): string {
  return (bytes as Buffer).toString('hex');
}
