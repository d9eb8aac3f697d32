/** The library without a server: operators, lowering, engines, batching, assignment. For those who embed or extend it. */
export { Coordinator, type CallContext, type CoordinatorOptions } from './coordinator.js';
export { CoordinatorError, errorRegistry, type ErrorCode } from './errors.js';
export { systemClock, type Clock } from './clock.js';
export type { Engine, LoadedProgram, ProgramRequest, RunResult } from './engine/engine.js';
export type { Policy, PolicySource } from './policies/policy.js';
export type { Answer, Matrix, Problem } from './problem.js';
