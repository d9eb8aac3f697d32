/** A CoordinateRequest message as a validated Problem. */
import type { PolicySource } from '../policies/policy.js';
import type { Problem } from '../problem.js';
import type { CoordinateRequestMessage } from './messages.js';

export interface RequestLimits {
  /** Largest N, M and width of a bucket. */
  readonly maxAgents: number;
  readonly maxTasks: number;
  readonly maxWidth: number;
  /** Most elements of one tensor. */
  readonly maxTensorElements: number;
  /** Largest answer. */
  readonly maxMessageBytes: number;
}

export interface RequestContext {
  readonly policies: PolicySource;
  readonly limits: RequestLimits;
}

export declare function decodeRequest(message: CoordinateRequestMessage, context: RequestContext): Problem;
