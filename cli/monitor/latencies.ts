/** Ratio between a bucket and the one before: quantiles are exact to 2 percent. */
const growth = 1.02
const smallestMs = 0.001
const bucketsMax = 1_200

/** Counts latencies in buckets: its memory does not grow with their number. */
export class Latencies {
  readonly #counts = new Float64Array(bucketsMax)
  #count = 0
  #maxMs = 0

  add(ms: number): void {
    const bucket = Math.ceil(Math.log(Math.max(ms, smallestMs) / smallestMs) / Math.log(growth))
    const at = Math.min(bucket, bucketsMax - 1)
    this.#counts[at] = (this.#counts[at] ?? 0) + 1
    this.#count++
    this.#maxMs = Math.max(this.#maxMs, ms)
  }

  /** Quantiles in ms; undefined without latencies. */
  summary():
    | { readonly p50: number; readonly p99: number; readonly p999: number; readonly max: number }
    | undefined {
    if (this.#count === 0) return undefined
    return {
      p50: this.#quantile(0.5),
      p99: this.#quantile(0.99),
      p999: this.#quantile(0.999),
      max: this.#maxMs,
    }
  }

  #quantile(share: number): number {
    const wanted = share * this.#count
    let seen = 0
    for (const [bucket, count] of this.#counts.entries()) {
      seen += count
      if (seen >= wanted) return Math.min(this.#maxMs, smallestMs * growth ** bucket)
    }
    return this.#maxMs
  }
}
