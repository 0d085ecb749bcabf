/** A jump of the wall clock up to this is a normal correction, as by NTP. */
const slackMs = 1_000
/** The clock believes a jump once it has lasted as long as its size, and after this at the latest. */
const holdMsMax = 3_600_000

interface Jump {
  readonly offsetMs: number
  readonly sinceMs: number
}

/**
 * A reliable bound on the wall clock, which people, NTP and hypervisors sometimes set wrongly: an interval that
 * holds the true time. Its ends follow the monotonic clock. One end moves with a jump of the wall clock at once. The
 * other
 * moves when the jump has lasted as long as its size, or for an hour: by then someone has noticed and undone a mistake.
 * A
 * clock that returns to its old time within the hour is believed at once.
 */
export class WallClock {
  readonly #wallMs: () => number
  readonly #monotonicMs: () => number
  readonly #earliest: Believed
  readonly #latest: Believed

  constructor(wallMs: () => number = () => Date.now(), monotonicMs: () => number = () => performance.now()) {
    this.#wallMs = wallMs
    this.#monotonicMs = monotonicMs
    this.#earliest = new Believed(-1, this.#offsetMs)
    this.#latest = new Believed(1, this.#offsetMs)
  }

  /** The earliest possible time (ms since 1970): use it for the age of things. */
  get earliestMs(): number {
    return Math.floor(this.#earliest.after(this.#offsetMs, this.#monotonicMs()) + this.#monotonicMs())
  }

  /** The latest possible time: use it to reject future times. */
  get latestMs(): number {
    return Math.ceil(this.#latest.after(this.#offsetMs, this.#monotonicMs()) + this.#monotonicMs())
  }

  /** Tells the clock a time before the start of the process; the difference to now counts as a jump. */
  wasAt(timeMs: number): void {
    const offsetMs = timeMs - this.#monotonicMs()
    this.#earliest.include(offsetMs)
    this.#latest.include(offsetMs)
  }

  /** Offset from the monotonic clock to the wall clock. */
  get #offsetMs(): number {
    return this.#wallMs() - this.#monotonicMs()
  }
}

/** One end of the interval, as an offset from the monotonic clock. */
class Believed {
  /** -1: moves down at once and up with delay; 1: the reverse. */
  readonly #direction: -1 | 1
  #offsetMs: number
  /**
   * Pending jumps, each further than the previous one: a clock that keeps jumping has lasted beyond the jumps that it
   * passed.
   */
  #jumps: Jump[] = []
  /** Its position before an immediate move. */
  #left: Jump | undefined

  constructor(direction: -1 | 1, offsetMs: number) {
    this.#direction = direction
    this.#offsetMs = offsetMs
  }

  include(offsetMs: number): void {
    if ((offsetMs - this.#offsetMs) * this.#direction > 0) this.#offsetMs = offsetMs
  }

  after(offsetMs: number, monotonicMs: number): number {
    // Distance of the wall clock from this end, in the delayed direction.
    const ahead = (this.#offsetMs - offsetMs) * this.#direction
    const isBack = this.#isBack(offsetMs, monotonicMs)
    if (ahead < -slackMs) this.#left ??= { offsetMs: this.#offsetMs, sinceMs: monotonicMs }
    if (ahead <= slackMs || isBack) {
      this.#offsetMs = offsetMs
      this.#jumps = []
    } else this.#follow(offsetMs, monotonicMs)
    return this.#offsetMs
  }

  #isBack(offsetMs: number, monotonicMs: number): boolean {
    if (this.#left === undefined) return false
    const isBack = Math.abs(offsetMs - this.#left.offsetMs) <= slackMs
    if (isBack || monotonicMs - this.#left.sinceMs >= holdMsMax) this.#left = undefined
    return isBack
  }

  #follow(offsetMs: number, monotonicMs: number): void {
    const beyond = (jump: Jump): number => (jump.offsetMs - offsetMs) * this.#direction
    // The wall clock has returned from these.
    const jumps = this.#jumps.filter((jump) => beyond(jump) >= -slackMs)
    const furthest = jumps.at(-1)
    if (furthest === undefined || beyond(furthest) > slackMs) jumps.push({ offsetMs, sinceMs: monotonicMs })
    const holdMs = Math.min(Math.abs(offsetMs - this.#offsetMs), holdMsMax)
    const held = jumps.findLastIndex(({ sinceMs }) => monotonicMs - sinceMs >= holdMs)
    this.#jumps = jumps.slice(held + 1)
    const believed = jumps[held]
    if (believed === undefined) return
    this.#offsetMs = this.#jumps.length === 0 ? offsetMs : believed.offsetMs
  }
}
