const counterNames = [
  'publishedRecords',
  'publishedBytes',
  'fetchedRecords',
  'fetchedBytes',
  'requests',
  'commits',
] as const
type CounterName = (typeof counterNames)[number]
type Counters = Record<CounterName, number>

const windowSeconds = 10

/** Monotonic counters, and their rates over the last ten seconds. */
export class Metrics {
  publishedRecords = 0
  publishedBytes = 0
  fetchedRecords = 0
  fetchedBytes = 0
  requests = 0
  readonly #commitCount: () => number
  readonly #samples: { atMs: number; counters: Counters }[] = []
  readonly #timer: NodeJS.Timeout

  /** @param commitCount returns the number of commits since the start */
  constructor(commitCount: () => number) {
    this.#commitCount = commitCount
    this.sample(performance.now())
    this.#timer = setInterval(() => this.sample(performance.now()), 1_000).unref()
  }

  /** Samples the counters; called once a second. */
  sample(nowMs: number): void {
    this.#samples.push({ atMs: nowMs, counters: this.#current() })
    if (this.#samples.length > windowSeconds + 1) this.#samples.shift()
  }

  /** Averages per second over the last ten seconds, or over the time since the start. */
  rates(nowMs: number): Counters {
    const oldest = this.#samples[0]
    const current = this.#current()
    const seconds = oldest === undefined ? 0 : (nowMs - oldest.atMs) / 1_000
    for (const name of counterNames) {
      current[name] = seconds <= 0 ? 0 : (current[name] - (oldest?.counters[name] ?? 0)) / seconds
    }
    return current
  }

  close(): void {
    clearInterval(this.#timer)
  }

  #current(): Counters {
    const { publishedRecords, publishedBytes, fetchedRecords, fetchedBytes, requests } = this
    const commits = this.#commitCount()
    return { publishedRecords, publishedBytes, fetchedRecords, fetchedBytes, requests, commits }
  }
}
