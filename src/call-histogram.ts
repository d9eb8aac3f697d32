/** A histogram for what is observed with every call: finding a label's counts takes no text to be made and no object to be checked. */
import type { Histogram, Registry } from 'prom-client';

/** A traced call, shown beside a bucket that it was counted in. */
export interface Exemplar {
  readonly traceId: string;
  readonly spanId: string;
  /** When it ended, since 1970. */
  readonly epochSeconds: number;
}

interface Counts {
  /** One for each bucket, not cumulative, and one for what is beyond the last. */
  readonly inBucket: Float64Array;
  sum: number;
  /** The newest of each bucket; empty where nothing is traced. */
  readonly exemplars: (ShownExemplar | undefined)[];
}

/** As prom-client has it. */
interface ShownExemplar {
  readonly labelSet: Readonly<Record<'trace_id' | 'span_id', string>>;
  readonly value: number;
  readonly timestamp: number;
}

/** As a registry reads it. */
export interface MetricSnapshot {
  readonly name: string;
  readonly help: string;
  readonly type: 'histogram';
  readonly aggregator: 'sum';
  readonly values: readonly {
    readonly metricName: string;
    readonly labels: Readonly<Record<string, string | number>>;
    readonly value: number;
    /** Of buckets; shown in the OpenMetrics format only. */
    readonly exemplar?: ShownExemplar;
  }[];
}

export interface CallHistogramOptions<T extends string> {
  readonly name: string;
  readonly help: string;
  /** Upper bounds, ascending. */
  readonly buckets: readonly number[];
  /** The only label; absent: there is none. */
  readonly labelName?: T;
  /** Values of the label that are shown before they are observed, with zeros. */
  readonly labelValues?: readonly string[];
  readonly registry: Registry;
}

/** With at most one label. Shows what prom-client's histogram shows of the same observations. */
export class CallHistogram<T extends string = never> {
  readonly name: string;
  readonly type = 'histogram';
  readonly labelNames: readonly string[];
  readonly #options: CallHistogramOptions<T>;
  readonly #buckets: readonly number[];
  readonly #counts = new Map<string, Counts>();

  constructor(options: CallHistogramOptions<T>) {
    this.name = options.name;
    this.labelNames = options.labelName === undefined ? [] : [options.labelName];
    this.#options = options;
    this.#buckets = options.buckets;
    this.reset();
    // A registry reads `name` and `type`, and calls `get` and `reset`.
    options.registry.registerMetric(this as unknown as Histogram);
  }

  observe(value: number): void;
  observe(labels: Readonly<Record<T, string>>, value: number): void;
  observe(labels: number | Readonly<Record<T, string>>, value = 0): void {
    if (typeof labels === 'number') this.#count('', labels);
    else this.#count(labels[this.#options.labelName!], value);
  }

  /** Shows a call beside the bucket that `value` is counted in; it is not counted again. */
  exemplify(labels: Readonly<Record<T, string>>, value: number, exemplar: Exemplar): void {
    const { labelName } = this.#options;
    const { exemplars } = this.#countsOf(labelName === undefined ? '' : labels[labelName]);
    const { traceId, spanId, epochSeconds: timestamp } = exemplar;
    exemplars[this.#bucketOf(value)] = { labelSet: { trace_id: traceId, span_id: spanId }, value, timestamp };
  }

  get(): Promise<MetricSnapshot> {
    const { name, type } = this;
    const { help, labelName } = this.#options;
    const values: MetricSnapshot['values'][number][] = [];
    for (const [label, { inBucket, sum, exemplars }] of this.#counts) {
      const labels = labelName === undefined ? {} : { [labelName]: label };
      let count = 0;
      for (let i = 0; i < inBucket.length; i++) {
        count += inBucket[i]!;
        const le = this.#buckets[i] ?? '+Inf';
        const exemplar = exemplars[i];
        const value = { labels: { le, ...labels }, value: count, metricName: `${name}_bucket` };
        values.push(exemplar === undefined ? value : { ...value, exemplar });
      }
      values.push({ labels, value: sum, metricName: `${name}_sum` });
      values.push({ labels, value: count, metricName: `${name}_count` });
    }
    return Promise.resolve({ name, help, type, aggregator: 'sum', values });
  }

  reset(): void {
    this.#counts.clear();
    for (const label of this.#options.labelName === undefined ? [''] : (this.#options.labelValues ?? [])) {
      this.#countsOf(label);
    }
  }

  #count(label: string, value: number): void {
    if (!Number.isFinite(value)) throw new TypeError(`${this.name}: expected a finite number, received ${value}`);
    const counts = this.#countsOf(label);
    counts.inBucket[this.#bucketOf(value)]!++;
    counts.sum += value;
  }

  #bucketOf(value: number): number {
    const buckets = this.#buckets;
    let at = 0;
    while (at < buckets.length && value > buckets[at]!) at++;
    return at;
  }

  #countsOf(label: string): Counts {
    let counts = this.#counts.get(label);
    if (counts === undefined) {
      counts = { inBucket: new Float64Array(this.#buckets.length + 1), sum: 0, exemplars: [] };
      this.#counts.set(label, counts);
    }
    return counts;
  }
}
