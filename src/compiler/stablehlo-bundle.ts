/** Bundles (see bundling.ts) within a program: inputs out of one, results into one. */
import type { BundleMember } from './bundling.js';
import { type ArrayType, sizeOf } from './primitives.js';
import { type StableHloBlock, viewOf, withoutUnits } from './stablehlo-block.js';
import { tensorType } from './stablehlo-types.js';
import { shapeOf, type View } from './view.js';

/** The argument of `main` that is the bundle of inputs. */
export const bundleArgument = '%bundle';

/** An input out of the bundle of inputs. */
export function unbundle(
  block: StableHloBlock,
  bundleType: string,
  { start, length }: BundleMember,
  type: ArrayType,
): View {
  const words: ArrayType = { shape: [length], dtype: 'int32' };
  const part = block.operation(
    `stablehlo.slice ${bundleArgument} [${start}:${start + length}] : (${bundleType}) -> ${tensorType(words)}`,
    [],
  );
  const flat: ArrayType = { shape: [length], dtype: type.dtype };
  const value = block.reshape(bitsAs(block, part, words, flat), flat, withoutUnits(type.shape));
  return viewOf(value, type.shape, type.dtype);
}

/** The bits of all results, one after another. */
export function bundle(block: StableHloBlock, bundleType: string, views: readonly View[]): string {
  const parts = views.map((view) => {
    const length = sizeOf(shapeOf(view));
    const flat: ArrayType = { shape: [length], dtype: view.dtype };
    return bitsAs(block, block.shaped(view, [length]), flat, { shape: [length], dtype: 'int32' });
  });
  const types = views.map((view) => tensorType({ shape: [sizeOf(shapeOf(view))], dtype: 'int32' }));
  return block.operation(
    `stablehlo.concatenate ${parts.join(', ')}, dim = 0 : (${types.join(', ')}) -> ${bundleType}`,
    parts,
  );
}

function bitsAs(block: StableHloBlock, value: string, from: ArrayType, to: ArrayType): string {
  if (from.dtype === to.dtype) return value;
  return block.operation(`stablehlo.bitcast_convert ${value} : (${tensorType(from)}) -> ${tensorType(to)}`, [value]);
}
