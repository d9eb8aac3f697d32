/** StableHLO modules written by hand, and what they must compute. */

/** (a[n,k], w[k,m], b[m]) -> (a w + b, iota[m] as int32). */
export function affineModule(n: number, k: number, m: number): string {
  return `module @affine {
  func.func public @main(%a: tensor<${n}x${k}xf32>, %w: tensor<${k}x${m}xf32>, %b: tensor<${m}xf32>)
      -> (tensor<${n}x${m}xf32>, tensor<${m}xi32>) {
    %0 = stablehlo.dot_general %a, %w, contracting_dims = [1] x [0], precision = [HIGHEST, HIGHEST]
      : (tensor<${n}x${k}xf32>, tensor<${k}x${m}xf32>) -> tensor<${n}x${m}xf32>
    %1 = stablehlo.broadcast_in_dim %b, dims = [1] : (tensor<${m}xf32>) -> tensor<${n}x${m}xf32>
    %2 = stablehlo.add %0, %1 : tensor<${n}x${m}xf32>
    %3 = stablehlo.iota dim = 0 : tensor<${m}xi32>
    return %2, %3 : tensor<${n}x${m}xf32>, tensor<${m}xi32>
  }
}`;
}

/** What `affineModule` gives first, in double precision. */
export function affine(
  a: Float32Array,
  w: Float32Array,
  b: Float32Array,
  n: number,
  k: number,
  m: number,
): Float64Array {
  const result = new Float64Array(n * m);
  for (let row = 0; row < n; row++) {
    for (let column = 0; column < m; column++) {
      let sum = b[column]!;
      for (let inner = 0; inner < k; inner++) sum += a[row * k + inner]! * w[inner * m + column]!;
      result[row * m + column] = sum;
    }
  }
  return result;
}

/** x[n] -> the sum of sin applied `rounds` times: as long as wanted. */
export function slowModule(n: number, rounds: number): string {
  return `module @slow {
  func.func public @main(%x: tensor<${n}xf32>) -> tensor<${n}xf32> {
    %zero = stablehlo.constant dense<0> : tensor<i32>
    %one = stablehlo.constant dense<1> : tensor<i32>
    %rounds = stablehlo.constant dense<${rounds}> : tensor<i32>
    %0:2 = stablehlo.while(%i = %zero, %y = %x) : tensor<i32>, tensor<${n}xf32>
      cond {
        %more = stablehlo.compare LT, %i, %rounds : (tensor<i32>, tensor<i32>) -> tensor<i1>
        stablehlo.return %more : tensor<i1>
      } do {
        %next = stablehlo.add %i, %one : tensor<i32>
        %sine = stablehlo.sine %y : tensor<${n}xf32>
        stablehlo.return %next, %sine : tensor<i32>, tensor<${n}xf32>
      }
    return %0#1 : tensor<${n}xf32>
  }
}`;
}

/** x[4n,m] sharded by rows over four devices -> (its sums over columns, sharded alike; the sum of everything, on all). */
export function shardedSumModule(n: number, m: number): string {
  const rows = 4 * n;
  return `module @sharded {
  sdy.mesh @mesh = <["agents"=4]>
  func.func public @main(%x: tensor<${rows}x${m}xf32> {sdy.sharding = #sdy.sharding<@mesh, [{"agents"}, {}]>})
      -> (tensor<${rows}xf32> {sdy.sharding = #sdy.sharding<@mesh, [{"agents"}]>},
          tensor<f32> {sdy.sharding = #sdy.sharding<@mesh, []>}) {
    %zero = stablehlo.constant dense<0.0> : tensor<f32>
    %0 = stablehlo.reduce(%x init: %zero) applies stablehlo.add across dimensions = [1]
      : (tensor<${rows}x${m}xf32>, tensor<f32>) -> tensor<${rows}xf32>
    %1 = stablehlo.reduce(%0 init: %zero) applies stablehlo.add across dimensions = [0]
      : (tensor<${rows}xf32>, tensor<f32>) -> tensor<f32>
    return %0, %1 : tensor<${rows}xf32>, tensor<f32>
  }
}`;
}

/** (x[n], y) -> (x > y element by element as booleans, their number as int64, x as float64). */
export function compareModule(n: number): string {
  return `module @compare {
  func.func public @main(%x: tensor<${n}xf32>, %y: tensor<f32>) -> (tensor<${n}xi1>, tensor<i64>, tensor<${n}xf64>) {
    %0 = stablehlo.broadcast_in_dim %y, dims = [] : (tensor<f32>) -> tensor<${n}xf32>
    %1 = stablehlo.compare GT, %x, %0 : (tensor<${n}xf32>, tensor<${n}xf32>) -> tensor<${n}xi1>
    %2 = stablehlo.convert %1 : (tensor<${n}xi1>) -> tensor<${n}xi64>
    %zero = stablehlo.constant dense<0> : tensor<i64>
    %3 = stablehlo.reduce(%2 init: %zero) applies stablehlo.add across dimensions = [0]
      : (tensor<${n}xi64>, tensor<i64>) -> tensor<i64>
    %4 = stablehlo.convert %x : (tensor<${n}xf32>) -> tensor<${n}xf64>
    return %1, %3, %4 : tensor<${n}xi1>, tensor<i64>, tensor<${n}xf64>
  }
}`;
}

/** x -> sum of x over rows after a column-major transpose: two results whose natural layouts differ. */
export function transposeModule(n: number, m: number): string {
  return `module @transpose {
  func.func public @main(%x: tensor<${n}x${m}xf32>) -> tensor<${m}x${n}xf32> {
    %0 = stablehlo.transpose %x, dims = [1, 0] : (tensor<${n}x${m}xf32>) -> tensor<${m}x${n}xf32>
    return %0 : tensor<${m}x${n}xf32>
  }
}`;
}
