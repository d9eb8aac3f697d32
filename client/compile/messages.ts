/** What the process that compiles is told, and what it tells. */
import type { PlannedProgram } from './plan.js';

export interface CompileTask {
  readonly pluginPath: string;
  /** The plugin's own name for the devices: `v5e:2x2`. */
  readonly topology: string;
  readonly programs: readonly PlannedProgram[];
  /** Folder that exists; null: nothing is written. */
  readonly directory: string | null;
  /** Compilations at a time. */
  readonly parallel: number;
}

/** XLA's own estimates for one run. */
export interface Cost {
  readonly flops: number;
  readonly bytesAccessed: number;
  /** Null where the plugin does not estimate time. */
  readonly seconds: number | null;
  /** Operations whose time XLA does not know; they are not in `seconds`. */
  readonly untimed: number;
}

export interface LoopCost {
  /** How often its body runs. */
  readonly turns: number;
  /** Of one turn. */
  readonly body: Cost;
}

export interface CompiledFacts {
  readonly name: string;
  /** As XLA gives it: the body of a loop counts once. */
  readonly cost: Cost;
  /** The program's loops; null where they were not looked at (programs over several chips). */
  readonly loops: readonly LoopCost[] | null;
  /** `cost` with every loop at its turns; null where `loops` is. */
  readonly wholeCost: Cost | null;
  /** Bytes, per chip. */
  readonly argumentBytes: number;
  readonly outputBytes: number;
  readonly tempBytes: number;
  readonly peakBytes: number;
  readonly codeBytes: number;
  readonly compileSeconds: number;
  /** Of the serialized executable; null where the plugin does not serialize. */
  readonly executableBytes: number | null;
}

export type CompileMessage =
  | {
      readonly kind: 'topology';
      readonly platform: string;
      readonly platformVersion: string;
      readonly devices: readonly string[];
    }
  /** Nothing can be compiled. */
  | { readonly kind: 'refused'; readonly why: string }
  | { readonly kind: 'started'; readonly name: string }
  | { readonly kind: 'compiled'; readonly facts: CompiledFacts }
  | { readonly kind: 'failed'; readonly name: string; readonly why: string };
