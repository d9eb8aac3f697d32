/** What goes to the compiler. */
import { NativeStruct } from './native-memory.js';

const encoder = new TextEncoder();

/** A StableHLO module in its text form, which every plugin's own MLIR parses: no versioned bytecode in between. */
export function stableHloProgram(module: string): NativeStruct<'Program'> {
  const program = new NativeStruct('Program', 0);
  const code = encoder.encode(module);
  const format = encoder.encode('mlir');
  program.point('code', code);
  program.set('codeSize', code.length);
  program.point('format', format);
  program.set('formatSize', format.length);
  return program;
}
