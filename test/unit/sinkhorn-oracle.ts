/** The soft assignment in float64, written from its definition: the oracle of random problems. */

export interface OracleProblem {
  readonly utility: readonly (readonly number[])[];
  readonly temperature: number;
  readonly iterations: number;
  readonly agentMask: readonly number[];
  readonly taskMask: readonly number[];
  readonly rowMass: readonly number[];
  readonly columnMass: readonly number[];
  /** Slack utilities, -Infinity = that side does not exist; null: no slack row and column. */
  readonly slack: { readonly idle: number; readonly unserved: number } | null;
}

export interface OracleAnswer {
  readonly plan: number[][];
  readonly idleMass: number[];
  readonly rowError: number;
  readonly columnError: number;
}

export function sinkhornOracle(problem: OracleProblem): OracleAnswer {
  const { utility, temperature, agentMask, taskMask, slack } = problem;
  const [n, m] = [agentMask.length, taskMask.length];
  const total = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  const rowMass = agentMask.map((bit, i) => bit * problem.rowMass[i]!);
  const columnMass = taskMask.map((bit, j) => bit * problem.columnMass[j]!);
  const l = utility.map((row, i) =>
    row.map((value, j) => (agentMask[i] === 1 && taskMask[j] === 1 ? value / temperature : -Infinity)),
  );
  if (slack !== null) {
    l.forEach((row, i) => row.push(agentMask[i] === 1 ? slack.idle / temperature : -Infinity));
    l.push([...taskMask.map((bit) => (bit === 1 ? slack.unserved / temperature : -Infinity)), 0]);
    const [rows, columns] = [total(rowMass), total(columnMass)];
    rowMass.push(columns);
    columnMass.push(rows);
  }
  let f = rowMass.map(() => 0);
  let g = columnMass.map(() => 0);
  for (let k = 0; k < problem.iterations; k += 1) {
    f = rowMass.map((mass, i) =>
      update(
        mass,
        columnMass.map((_, j) => l[i]![j]! + g[j]!),
      ),
    );
    g = columnMass.map((mass, j) =>
      update(
        mass,
        rowMass.map((_, i) => l[i]![j]! + f[i]!),
      ),
    );
  }
  const plan = l.map((row, i) =>
    row.map((value, j) => (Number.isFinite(f[i]!) && Number.isFinite(g[j]!) ? Math.exp(value + f[i]! + g[j]!) : 0)),
  );
  const rowSum = (i: number) => total(plan[i]!);
  const columnSum = (j: number) => total(plan.map((row) => row[j]!));
  return {
    plan: plan.slice(0, n).map((row) => row.slice(0, m)),
    idleMass: agentMask.map((_, i) => (slack === null ? 0 : plan[i]![m]!)),
    rowError: Math.max(...agentMask.map((_, i) => Math.abs(rowSum(i) - rowMass[i]!))),
    columnError: Math.max(...taskMask.map((_, j) => Math.abs(columnSum(j) - columnMass[j]!))),
  };
}

/** log mass - logsumexp, -Infinity where there is no mass or nothing to sum. */
function update(mass: number, values: readonly number[]): number {
  const top = Math.max(...values);
  if (mass <= 0 || top === -Infinity) return -Infinity;
  return Math.log(mass) - top - Math.log(values.reduce((sum, value) => sum + Math.exp(value - top), 0));
}
