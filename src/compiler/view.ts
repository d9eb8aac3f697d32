/** Arrays seen through transpositions and axes of length 1, which a trace spells out at every turn and which move no data. */
import { type DType, sameShape } from './primitives.js';

/**
 * An array as a trace sees it: axis i is axis `axes[i]` of the value `base`, or a new axis of length 1 where null.
 * Axes of `base` that are not named have length 1.
 */
export interface View {
  readonly base: string;
  readonly baseShape: readonly number[];
  readonly axes: readonly (number | null)[];
  readonly dtype: DType;
}

export function wholeView(base: string, baseShape: readonly number[], dtype: DType): View {
  return { base, baseShape, axes: baseShape.map((_, axis) => axis), dtype };
}

export function shapeOf(view: View): number[] {
  return view.axes.map((axis) => (axis === null ? 1 : view.baseShape[axis]!));
}

export function transposed(view: View, permutation: readonly number[]): View {
  return { ...view, axes: permutation.map((axis) => view.axes[axis]!) };
}

/** The view with another shape, where that only adds or removes axes of length 1; null where elements must move. */
export function reshapedView(view: View, shape: readonly number[]): View | null {
  const long = view.axes.filter((axis) => axis !== null && view.baseShape[axis] !== 1);
  const lengths = shape.filter((length) => length !== 1);
  if (
    !sameShape(
      lengths,
      long.map((axis) => view.baseShape[axis!]!),
    )
  )
    return null;
  let next = 0;
  return { ...view, axes: shape.map((length) => (length === 1 ? null : long[next++]!)) };
}
