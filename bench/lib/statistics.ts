/** The middle value; the mean of the two in the middle when there is an even number of values. NaN for none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const upper = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
  if (sorted.length % 2 === 1) return upper
  return ((sorted[sorted.length / 2 - 1] ?? Number.NaN) + upper) / 2
}

/** How far the values lie apart: (largest - smallest) / median; 0 when all are the same. */
export function spread(values: readonly number[]): number {
  const range = Math.max(...values) - Math.min(...values)
  return range === 0 ? 0 : range / median(values)
}

/**
 * Two-sided p-value of the Mann-Whitney U test: how likely it is that samples of one and the same distribution differ at
 * least as much in rank as these do. Exact: counts all ways to deal the ranks out, with mean ranks for equal values
 * (Mann and Whitney, "On a test of whether one of two random variables is stochastically larger than the other", 1947).
 * For tens of values; NaN when a sample is empty.
 */
export function mannWhitneyP(a: readonly number[], b: readonly number[]): number {
  const ranks = doubledRanks([...a, ...b])
  const observed = sum(ranks.slice(0, a.length))
  const expected = (a.length * sum(ranks)) / ranks.length
  const ways = waysBySum(ranks, a.length)
  let all = 0
  let asFar = 0
  for (const [rankSum, count] of ways) {
    all += count
    if (Math.abs(rankSum - expected) >= Math.abs(observed - expected) - 1e-9) asFar += count
  }
  return a.length === 0 || b.length === 0 ? Number.NaN : asFar / all
}

/** Twice the rank of each value, so that the mean ranks of equal values are whole numbers. */
function doubledRanks(values: readonly number[]): number[] {
  return values.map((value) => {
    const below = values.filter((other) => other < value).length
    const equal = values.filter((other) => other === value).length
    return 2 * below + equal + 1
  })
}

/** How many ways there are to choose so many of the ranks, by their sum. */
function waysBySum(ranks: readonly number[], chosen: number): Map<number, number> {
  const ways = Array.from({ length: chosen + 1 }, () => new Map<number, number>())
  ways[0]?.set(0, 1)
  for (const rank of ranks) {
    for (let count = chosen; count > 0; count--) {
      for (const [rankSum, before] of ways[count - 1] ?? []) {
        const now = ways[count] as Map<number, number>
        now.set(rankSum + rank, (now.get(rankSum + rank) ?? 0) + before)
      }
    }
  }
  return ways[chosen] as Map<number, number>
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
