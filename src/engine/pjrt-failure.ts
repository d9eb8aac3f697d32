import { CoordinatorError } from '../errors.js';
import { PjrtError } from '../pjrt/call.js';

/** What a caller is told of a plugin's error: `code` with the plugin's own words. */
export function pjrtFailure(thrown: unknown, code: 'ENGINE_FAILED' | 'COMPILE_FAILED'): CoordinatorError {
  if (thrown instanceof CoordinatorError) return thrown;
  if (thrown instanceof PjrtError) return new CoordinatorError(code, thrown.message, { cause: thrown });
  return CoordinatorError.from(thrown);
}
