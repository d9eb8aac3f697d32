/**
 * The largest of each row, one after another, for XLA's CPU plugin: `chlo.top_k` is a call there that takes a microsecond
 * for a row of 128, one row after another. The 8 largest of 4096 such rows take it 4.1 ms of one core, and 1.0 ms so; at
 * 1024 rows of 1024 it is 2.9 ms against 4.7.
 */
import type { StableHloBlock } from './stablehlo-block.js';
import type { Rows } from './stablehlo-rules.js';

/** Rounds cost in proportion to these; the call hardly does. */
const longestRow = 256;
const mostRounds = 16;

/** Lanes of a vector times what hides its latency: the part of a row whose maxima are kept apart. */
const lanes = 16;

export function picksByRounds({ shape }: Rows, count: number): boolean {
  const [, length] = shape;
  return count <= mostRounds && length <= longestRow && length % lanes === 0;
}

const typeOf = (shape: readonly number[], element: string): string => `tensor<${[...shape, element].join('x')}>`;

/**
 * The `count` largest of each row, largest first and equal ones by rising index: values, and int32 indices. For rows that
 * hold nothing negative. Each element becomes one integer of 64 bits, its own bits (which rise with it) above its place
 * counted from the end; a round takes the largest below that of the round before.
 */
export function largestByRounds(block: StableHloBlock, rows: Rows, count: number): readonly [Rows, Rows] {
  const [height, length] = rows.shape;
  const [index, before, found, input] = [block.newName(), block.newName(), block.newName(), block.newName()];
  const table = typeOf([count, height], 'i64');
  const types = ['tensor<i32>', typeOf([height], 'i64'), table, typeOf(rows.shape, 'f32')];

  const condition = block.region();
  const end = constant(condition, [], 'i32', count);
  const compare = `stablehlo.compare LT, ${index}, ${end}, SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>`;
  const goesOn = condition.operation(compare, [end]);

  const body = block.region();
  const largest = largestBelow(body, input, before, rows.shape);
  const line = convert(body, 'reshape', largest, typeOf([height], 'i64'), typeOf([1, height], 'i64'));
  const [zero, one] = [constant(body, [], 'i32', 0), constant(body, [], 'i32', 1)];
  const update = `stablehlo.dynamic_update_slice ${found}, ${line}, ${index}, ${zero}`;
  const place = 'tensor<i32>, tensor<i32>';
  const updated = body.operation(`${update} : (${table}, ${typeOf([1, height], 'i64')}, ${place}) -> ${table}`, [
    line,
    zero,
  ]);
  const next = body.operation(`stablehlo.add ${index}, ${one} : tensor<i32>`, [one]);

  const start = [
    constant(block, [], 'i32', 0),
    constant(block, [height], 'i64', '9223372036854775807'),
    constant(block, [count, height], 'i64', 0),
    rows.value,
  ];
  const names = [index, before, found, input];
  const returned = [next, largest, updated, input];
  const lines = [
    `stablehlo.while(${names.map((name, i) => `${name} = ${start[i]!}`).join(', ')}) : ${types.join(', ')}`,
    'cond {',
    ...condition.lines([goesOn], 1),
    `  stablehlo.return ${goesOn} : tensor<i1>`,
    '} do {',
    ...body.lines(returned, 1),
    `  stablehlo.return ${returned.join(', ')} : ${types.join(', ')}`,
    '}',
  ];
  const result = block.operations(lines, start, types.length)[2]!;
  return decoded(block, result, [height, count], length);
}

/** The largest key of each row that is below `before`; -1 where there is none. */
function largestBelow(
  block: StableHloBlock,
  rows: string,
  before: string,
  [height, length]: readonly [number, number],
): string {
  const parts = length > lanes ? [length / lanes, lanes] : [length];
  const shape = [height, ...parts];
  const [words, integers, floats] = [typeOf(shape, 'i64'), typeOf(shape, 'i32'), typeOf(shape, 'f32')];
  const across = parts.map((_, axis) => axis + 1);

  const cut = convert(block, 'reshape', rows, typeOf([height, length], 'f32'), floats);
  const bits = convert(block, 'convert', convert(block, 'bitcast_convert', cut, floats, integers), integers, words);
  const shift = constant(block, shape, 'i64', 32);
  const high = block.operation(`stablehlo.shift_left ${bits}, ${shift} : ${words}`, [bits, shift]);
  const counting = block.operation(`stablehlo.iota dim = 0 : ${typeOf([length], 'i64')}`, []);
  const last = constant(block, [length], 'i64', length - 1);
  const type = typeOf([length], 'i64');
  const backwards = block.operation(`stablehlo.subtract ${last}, ${counting} : ${type}`, [last, counting]);
  const placed = convert(block, 'reshape', backwards, type, typeOf(parts, 'i64'));
  const low = broadcast(block, placed, typeOf(parts, 'i64'), words, across);
  const keys = block.operation(`stablehlo.or ${high}, ${low} : ${words}`, [high, low]);

  const limit = broadcast(block, before, typeOf([height], 'i64'), words, [0]);
  const isBelow = `stablehlo.compare LT, ${keys}, ${limit}, SIGNED : (${words}, ${words}) -> ${typeOf(shape, 'i1')}`;
  const below = block.operation(isBelow, [keys, limit]);
  const none = constant(block, shape, 'i64', -1);
  const choice = `stablehlo.select ${below}, ${keys}, ${none} : ${typeOf(shape, 'i1')}, ${words}`;
  return maximum(block, block.operation(choice, [below, keys, none]), shape);
}

/** Over all axes but the first, one by one from the second: XLA would join them again but for the barrier. */
function maximum(block: StableHloBlock, value: string, [height, ...parts]: readonly number[]): string {
  const none = constant(block, [], 'i64', -1);
  let result = value;
  parts.forEach((_, index) => {
    const from = typeOf([height!, ...parts.slice(index)], 'i64');
    const to = typeOf([height!, ...parts.slice(index + 1)], 'i64');
    if (index > 0) result = block.operation(`stablehlo.optimization_barrier ${result} : ${from}`, [result]);
    const reduce = `stablehlo.reduce(${result} init: ${none}) applies stablehlo.maximum across dimensions = [1]`;
    result = block.operation(`${reduce} : (${from}, tensor<i64>) -> ${to}`, [result, none]);
  });
  return result;
}

/** Keys [count, height] to values and indices [height, count]. */
function decoded(
  block: StableHloBlock,
  keys: string,
  shape: readonly [number, number],
  length: number,
): readonly [Rows, Rows] {
  const [words, integers] = [typeOf(shape, 'i64'), typeOf(shape, 'i32')];
  const from = typeOf(shape.toReversed(), 'i64');
  const turned = block.operation(`stablehlo.transpose ${keys}, dims = [1, 0] : (${from}) -> ${words}`, [keys]);
  const shift = constant(block, shape, 'i64', 32);
  const high = block.operation(`stablehlo.shift_right_logical ${turned}, ${shift} : ${words}`, [turned, shift]);
  const value = convert(
    block,
    'bitcast_convert',
    convert(block, 'convert', high, words, integers),
    integers,
    typeOf(shape, 'f32'),
  );
  const mask = constant(block, shape, 'i64', '4294967295');
  const low = block.operation(`stablehlo.and ${turned}, ${mask} : ${words}`, [turned, mask]);
  const backwards = convert(block, 'convert', low, words, integers);
  const last = constant(block, shape, 'i32', length - 1);
  const index = block.operation(`stablehlo.subtract ${last}, ${backwards} : ${integers}`, [last, backwards]);
  return [
    { value, shape, dtype: 'float32' },
    { value: index, shape, dtype: 'int32' },
  ];
}

function constant(block: StableHloBlock, shape: readonly number[], element: string, value: number | string): string {
  return block.operation(`stablehlo.constant dense<${value}> : ${typeOf(shape, element)}`, []);
}

function convert(block: StableHloBlock, op: string, value: string, from: string, to: string): string {
  return from === to ? value : block.operation(`stablehlo.${op} ${value} : (${from}) -> ${to}`, [value]);
}

function broadcast(block: StableHloBlock, value: string, from: string, to: string, dims: readonly number[]): string {
  const text = `stablehlo.broadcast_in_dim ${value}, dims = [${dims.join(', ')}] : (${from}) -> ${to}`;
  return block.operation(text, [value]);
}
