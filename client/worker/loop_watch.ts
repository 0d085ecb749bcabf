/** Interval of the timer that watches the event loop. */
const beatIntervalMs = 100
/** A gap of this length between two turns is reported. */
const gapMsMin = 2 * beatIntervalMs

/** Receives events of the event loop. */
export interface LoopWatcher {
  /** The event loop turned; called about ten times per second. */
  turned(): void
  /** The process did not run for `gapMs`, until `nowMs` of the monotonic clock. */
  stoodStill(gapMs: number, nowMs: number): void
}

/** Watches the event loop with one timer for all watchers of the process, and no timer without watchers. */
export class LoopWatch {
  /** Time of the last turn of the event loop, in ms of the process's monotonic clock; shared with other threads. */
  readonly beat = new BigInt64Array(new SharedArrayBuffer(8))
  readonly #watchers = new Set<LoopWatcher>()
  #timer: NodeJS.Timeout | undefined
  #seenMs = 0

  add(watcher: LoopWatcher): void {
    if (this.#timer === undefined) {
      this.#seenMs = monotonicMs()
      this.#timer = setInterval(() => this.#turn(), beatIntervalMs).unref()
    }
    this.#watchers.add(watcher)
    Atomics.store(this.beat, 0, BigInt(this.look()))
  }

  delete(watcher: LoopWatcher): void {
    this.#watchers.delete(watcher)
    if (this.#watchers.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** Returns the time in ms of the monotonic clock. If the process stood still before, it first calls the watchers. */
  look(): number {
    const nowMs = monotonicMs()
    const gapMs = nowMs - this.#seenMs
    this.#seenMs = nowMs
    if (gapMs < gapMsMin) return nowMs
    Atomics.store(this.beat, 0, BigInt(nowMs))
    for (const watcher of [...this.#watchers]) watcher.stoodStill(gapMs, nowMs)
    return nowMs
  }

  #turn(): void {
    Atomics.store(this.beat, 0, BigInt(this.look()))
    for (const watcher of [...this.#watchers]) watcher.turned()
  }
}

/** The clock that all threads of the process share. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1_000_000n)
}
