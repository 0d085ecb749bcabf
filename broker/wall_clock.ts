/** A jump of the wall clock up to this is taken for its being set right, as NTP does all the time. */
const slackMs = 1_000
/** A jump is believed once it has held for as long as it is large, and after this at the latest. */
const holdMsMax = 3_600_000

interface Jump {
  readonly offsetMs: number
  readonly sinceMs: number
}

/**
 * What can be relied on of the wall clock, which people, NTP and hypervisors set, wrongly at times: an interval that
 * holds the true time. Its ends follow the monotonic clock. One moves with a jump of the wall clock at once, the other
 * when the jump has held for as long as it is large, or for an hour: by then a mistake is noticed and undone. A clock that
 * comes back to where it was within the hour is believed at once.
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

  /** The least that the time may be (ms since 1970): for what is done to things of a certain age. */
  get earliestMs(): number {
    return Math.floor(this.#earliest.after(this.#offsetMs, this.#monotonicMs()) + this.#monotonicMs())
  }

  /** The most that the time may be: for what must not be of the future. */
  get latestMs(): number {
    return Math.ceil(this.#latest.after(this.#offsetMs, this.#monotonicMs()) + this.#monotonicMs())
  }

  /** The time was this before the process began; what is between that and now has to be believed like any other jump. */
  wasAt(timeMs: number): void {
    const offsetMs = timeMs - this.#monotonicMs()
    this.#earliest.include(offsetMs)
    this.#latest.include(offsetMs)
  }

  /** From the monotonic clock to the wall clock. */
  get #offsetMs(): number {
    return this.#wallMs() - this.#monotonicMs()
  }
}

/** One end of the interval, as an offset from the monotonic clock. */
class Believed {
  /** -1: goes down at once and up reluctantly; 1: the other way round. */
  readonly #direction: -1 | 1
  #offsetMs: number
  /** Where it is to follow to, each further than the one before: a clock that goes on jumping has held what it passed. */
  #jumps: Jump[] = []
  /** Where it was before it went off at once. */
  #left: Jump | undefined

  constructor(direction: -1 | 1, offsetMs: number) {
    this.#direction = direction
    this.#offsetMs = offsetMs
  }

  include(offsetMs: number): void {
    if ((offsetMs - this.#offsetMs) * this.#direction > 0) this.#offsetMs = offsetMs
  }

  after(offsetMs: number, monotonicMs: number): number {
    // How far the wall clock has gone where this end follows reluctantly.
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
    // The wall clock has come back from these.
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
