import { Metadata } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { tenantOf } from '../../server/tenant.js';
import { CoordinatorError } from '../../src/errors.js';

function metadata(...names: string[]): Metadata {
  const result = new Metadata();
  for (const name of names) result.add('tc-tenant', name);
  return result;
}

describe('the tenant in the metadata', () => {
  it('is the name that the call gives, or none', () => {
    expect(tenantOf(metadata('depot-7'))).toBe('depot-7');
    expect(tenantOf(metadata())).toBe('');
  });

  it.each([[['two words']], [['x'.repeat(65)]], [['one', 'two']]])(
    'is refused as %j with the key of the metadata as the field',
    (names) => {
      let thrown: unknown;
      try {
        tenantOf(metadata(...names));
      } catch (error) {
        thrown = error;
      }
      expect(thrown).toBeInstanceOf(CoordinatorError);
      const { code, violations } = thrown as CoordinatorError;
      expect(code).toBe('REQUEST_INVALID');
      expect(violations.map(({ field }) => field)).toEqual(['tc-tenant']);
    },
  );
});
