/** The summary of many samples. */
export interface Figure {
  readonly count: number
  readonly p50: number
  readonly p99: number
  readonly max: number
}

/** The smallest value that at least this share (0 to 1) of the values does not exceed; 0 for none. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0
}

export function figureOf(values: readonly number[]): Figure {
  return {
    count: values.length,
    p50: percentile(values, 0.5),
    p99: percentile(values, 0.99),
    max: percentile(values, 1),
  }
}

/**
 * The rule of three: an event that never happened in `trials` independent trials has a probability below this, with 95
 * % confidence.
 * Hanley and Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 249 (1983).
 */
export function upperBound95(trials: number): number {
  return trials === 0 ? 1 : Math.min(1, 3 / trials)
}
