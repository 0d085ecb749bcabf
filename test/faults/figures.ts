/** What many samples come to. */
export interface Figure {
  readonly count: number
  readonly p50: number
  readonly p99: number
  readonly max: number
}

/** The value that the share `of` (0 to 1) of the samples does not exceed, by nearest rank; NaN for none. */
export function percentile(sorted: readonly number[], of: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * of) - 1)] ?? Number.NaN
}

export function figureOf(values: readonly number[]): Figure {
  const sorted = [...values].sort((a, b) => a - b)
  return {
    count: sorted.length,
    p50: percentile(sorted, 0.5),
    p99: percentile(sorted, 0.99),
    max: percentile(sorted, 1),
  }
}

/**
 * The rule of three: what was never seen in `trials` independent ones has a probability below this, with 95 % confidence.
 * Hanley and Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 249 (1983).
 */
export function upperBound95(trials: number): number {
  return trials === 0 ? 1 : Math.min(1, 3 / trials)
}
