/**
 * The one error registry. Every failure that a caller can see is one of these codes; `server/status.ts` alone turns
 * them into gRPC statuses. Users match `code` (sent as ErrorInfo.reason), never the message.
 */

export type GrpcStatusName =
  | 'INVALID_ARGUMENT'
  | 'OUT_OF_RANGE'
  | 'NOT_FOUND'
  | 'FAILED_PRECONDITION'
  | 'RESOURCE_EXHAUSTED'
  | 'DEADLINE_EXCEEDED'
  | 'CANCELLED'
  | 'UNAVAILABLE'
  | 'UNAUTHENTICATED'
  | 'PERMISSION_DENIED'
  | 'INTERNAL';

interface ErrorKind {
  readonly status: GrpcStatusName;
  /** Whether the same request may succeed later or elsewhere. */
  readonly retryable: boolean;
  /** For the documentation: when it is raised and what the caller should do. */
  readonly when: string;
}

export const errorRegistry = {
  REQUEST_INVALID: {
    status: 'INVALID_ARGUMENT',
    retryable: false,
    when: 'A field is missing, out of its range, contradictory or not available yet.',
  },
  TENSOR_SHAPE: {
    status: 'INVALID_ARGUMENT',
    retryable: false,
    when: 'A tensor has the wrong rank, a dimension that is not positive, or one that does not match another field.',
  },
  TENSOR_DTYPE: {
    status: 'INVALID_ARGUMENT',
    retryable: false,
    when: 'A tensor has a dtype that its field does not take.',
  },
  TENSOR_DATA: {
    status: 'INVALID_ARGUMENT',
    retryable: false,
    when: 'A tensor carries both `data` and `values`, neither, or a number of bytes or values that does not match its shape.',
  },
  TENSOR_NOT_FINITE: { status: 'INVALID_ARGUMENT', retryable: false, when: 'NaN or infinity where it has no meaning.' },
  SIZE_LIMIT: {
    status: 'OUT_OF_RANGE',
    retryable: false,
    when: 'A width is beyond the largest bucket or `--max-width`, N or M beyond `--max-swarm`, or `PLAN` was asked for with N or M beyond the largest bucket.',
  },
  ANSWER_TOO_LARGE: {
    status: 'OUT_OF_RANGE',
    retryable: false,
    when: 'The answer would exceed the message limit; ask for HARD or TOP_K instead of PLAN, or raise the limit.',
  },
  POLICY_UNKNOWN: { status: 'NOT_FOUND', retryable: false, when: 'No policy of that name is loaded.' },
  WEIGHTS_MISSING: {
    status: 'FAILED_PRECONDITION',
    retryable: false,
    when: 'The operator needs weights that the policy does not have.',
  },
  FALLBACK_FORBIDDEN: {
    status: 'FAILED_PRECONDITION',
    retryable: false,
    when: '`forbid_fallback` is set and the preferred engine is down or cannot run this request.',
  },
  PLUGIN_INCOMPATIBLE: {
    status: 'FAILED_PRECONDITION',
    retryable: false,
    when: 'The file given as a PJRT plugin cannot be loaded, is none, or speaks a version of the PJRT C API that this build does not know.',
  },
  COMPILE_FAILED: {
    status: 'INTERNAL',
    retryable: false,
    when: 'The engine refused a program of ours; logged with the request id.',
  },
  QUEUE_FULL: { status: 'RESOURCE_EXHAUSTED', retryable: true, when: 'The queue is full; retry after the time given.' },
  DEADLINE_EXPIRED: {
    status: 'DEADLINE_EXCEEDED',
    retryable: false,
    when: "The caller's deadline passed before the answer was ready.",
  },
  PREDICTED_LATE: {
    status: 'DEADLINE_EXCEEDED',
    retryable: true,
    when: 'By measured times the answer could not be ready before the deadline, so no work was begun; retry after the time given, with more time, or elsewhere.',
  },
  SUPERSEDED: {
    status: 'CANCELLED',
    retryable: false,
    when: 'A newer request of the same stream was waiting, and this one allowed it to take its place (`supersede`).',
  },
  STREAM_LIMIT: {
    status: 'RESOURCE_EXHAUSTED',
    retryable: true,
    when: 'The server has as many streams open as it takes (`--max-streams`); call another replica or send single calls.',
  },
  QUOTA_EXCEEDED: {
    status: 'RESOURCE_EXHAUSTED',
    retryable: true,
    when: 'The tenant has used up a quota (requests, agent states or bytes a second, concurrent calls, streams); retry after the time given.',
  },
  QUOTA_TOO_SMALL: {
    status: 'OUT_OF_RANGE',
    retryable: false,
    when: "The request alone is more than the tenant's quota ever allows at once; send a smaller one.",
  },
  CREDENTIALS_MISSING: {
    status: 'UNAUTHENTICATED',
    retryable: false,
    when: 'The server knows its callers, and the call brought neither a bearer token nor a client certificate.',
  },
  CREDENTIALS_REFUSED: {
    status: 'UNAUTHENTICATED',
    retryable: false,
    when: 'The token or the client certificate is unknown, revoked, expired, of another issuer or for another audience.',
  },
  METHOD_FORBIDDEN: {
    status: 'PERMISSION_DENIED',
    retryable: false,
    when: 'The caller is known and lacks the permission to call this method.',
  },
  TENANT_FORBIDDEN: {
    status: 'PERMISSION_DENIED',
    retryable: false,
    when: 'The call names a tenant (`tc-tenant`) that its caller may not call for.',
  },
  CANCELLED: { status: 'CANCELLED', retryable: false, when: 'The caller went away.' },
  WARMING: { status: 'UNAVAILABLE', retryable: true, when: 'The server has not finished warming up.' },
  DRAINING: { status: 'UNAVAILABLE', retryable: true, when: 'The server is shutting down; call another replica.' },
  ENGINE_FAILED: {
    status: 'UNAVAILABLE',
    retryable: true,
    when: 'The engine crashed or hung while it ran this request, and no other could run it; it is being restarted.',
  },
  INTERNAL: { status: 'INTERNAL', retryable: false, when: 'A defect of ours; logged with the request id.' },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof errorRegistry;

export interface FieldViolation {
  /** Path of the field in the request, in proto names: `assignment.capacities[3]`. */
  readonly field: string;
  readonly description: string;
}

export interface CoordinatorErrorOptions {
  readonly violations?: readonly FieldViolation[];
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

/** What an overload brings by the thousand. Taking a stack costs as much as the refusal, and says nothing that the message does not. */
const withoutStack: ReadonlySet<ErrorCode> = new Set([
  'QUEUE_FULL',
  'PREDICTED_LATE',
  'QUOTA_EXCEEDED',
  'DEADLINE_EXPIRED',
  'CANCELLED',
  'SUPERSEDED',
]);

/** A failure that may be told to the caller. The message says what was expected and what came. */
export class CoordinatorError extends Error {
  readonly code: ErrorCode;
  readonly violations: readonly FieldViolation[];
  readonly retryAfterMs: number | null;

  constructor(code: ErrorCode, message: string, options: CoordinatorErrorOptions = {}) {
    const frames = Error.stackTraceLimit;
    if (withoutStack.has(code)) Error.stackTraceLimit = 0;
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    Error.stackTraceLimit = frames;
    this.name = 'CoordinatorError';
    this.code = code;
    this.violations = options.violations ?? [];
    this.retryAfterMs = options.retryAfterMs ?? null;
  }

  get status(): GrpcStatusName {
    return errorRegistry[this.code].status;
  }

  get retryable(): boolean {
    return errorRegistry[this.code].retryable;
  }

  /** An INVALID_ARGUMENT (or OUT_OF_RANGE) error about one field. `received` is appended to the message when given. */
  static field(code: ErrorCode, field: string, expected: string, received?: string): CoordinatorError {
    const description = received === undefined ? `expected ${expected}` : `expected ${expected}, received ${received}`;
    return new CoordinatorError(code, `${field}: ${description}`, { violations: [{ field, description }] });
  }

  /** Anything thrown, as a CoordinatorError: itself, or INTERNAL with the original as its cause. */
  static from(thrown: unknown): CoordinatorError {
    if (thrown instanceof CoordinatorError) return thrown;
    return new CoordinatorError('INTERNAL', 'internal error', { cause: thrown });
  }
}
