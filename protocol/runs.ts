/** Offsets as runs: first offset, count, first offset, count and so on, ascending. */
export type Runs = readonly number[]

/** @param offsets ascending, each once */
export function runsOf(offsets: readonly number[]): number[] {
  const runs: number[] = []
  let last = Number.NEGATIVE_INFINITY
  for (const offset of offsets) {
    if (offset === last + 1) (runs[runs.length - 1] as number)++
    else runs.push(offset, 1)
    last = offset
  }
  return runs
}

/** Yields each [first, end) of the runs. */
export function* rangesOf(runs: Runs): Generator<readonly [first: number, end: number]> {
  for (let i = 0; i + 1 < runs.length; i += 2) {
    const first = runs[i] as number
    yield [first, first + (runs[i + 1] as number)]
  }
}

/** Yields each offset of the runs. */
export function* offsetsOf(runs: Runs): Generator<number> {
  for (const [first, end] of rangesOf(runs)) for (let offset = first; offset < end; offset++) yield offset
}

/** Counts the offsets. */
export function countOf(runs: Runs): number {
  let count = 0
  for (let i = 1; i < runs.length; i += 2) count += runs[i] as number
  return count
}
