import { type LeaseHost, type LeaseSeat, leaseHost } from './lease_host.js'
import type { LeaseThreadData, LeaseThreadMessage, LeaseThreadReport } from './lease_keeping.js'
import { LoopWatch, type LoopWatcher } from './loop_watch.js'

const loopWatch = new LoopWatch()

/**
 * The leases of a worker: prolongs them through the thread of its host, which stops when the event loop has not turned for
 * `blockedMsMax`, and knows which of them the worker still has.
 */
export class LeaseKeeper {
  readonly #leaseMs: number
  readonly #onLost: (grantIds: readonly number[]) => void
  readonly #onExtended: () => void
  readonly #grants = new Map<number, Grant>()
  readonly #watcher: LoopWatcher
  readonly #seat: LeaseSeat
  #removed: number[] = []
  #reportsAlways = false
  #extendedAtMs = 0
  /** Questions whether the leases are still there: those that were put, and those that are answered. */
  #asked = 0
  #answered = 0
  /** When this process was seen to run again after it had stood still. */
  #stalledUntilMs = 0
  #isClosed = false

  /**
   * @param onLost told of leases that are over
   * @param onExtended told when all others were prolonged
   * @param onError told when the thread failed; it is started again, or the main thread takes over
   */
  constructor(
    data: Omit<LeaseThreadData, 'beat'>,
    onLost: (grantIds: readonly number[]) => void,
    onExtended: () => void,
    onError: (error: unknown) => void,
    host: LeaseHost = leaseHost,
  ) {
    this.#leaseMs = data.leaseMs
    this.#onLost = onLost
    this.#onExtended = onExtended
    this.#watcher = {
      turned: () => {
        if (this.#removed.length > 0) this.#post({ removed: this.#removed.splice(0) })
      },
      stoodStill: (gapMs, nowMs) => this.#stoodStill(gapMs, nowMs),
    }
    loopWatch.add(this.#watcher)
    this.#seat = host.open(
      { ...data, beat: loopWatch.beat },
      {
        reported: (report) => this.#reported(report),
        failed: onError,
        restarted: () => this.#post({ added: [...this.#grants.keys()] }),
      },
    )
  }

  /** Resolves when leases are kept: from then on a handler may block the event loop. */
  get started(): Promise<void> {
    return this.#seat.started
  }

  /** @param requestedAtMs when the request was sent that it was given for, by `monotonicMs` */
  add(grantId: number, requestedAtMs: number): void {
    const nowMs = loopWatch.look()
    // The reply may have lain in the socket while the process stood still.
    // A reply that took long may be one of a lease that is over.
    const isLate = nowMs - requestedAtMs >= this.#leaseMs / 2
    const isSuspect = isLate || requestedAtMs < this.#stalledUntilMs
    if (isSuspect) this.#asked++
    this.#grants.set(grantId, { givenAtMs: nowMs, question: isSuspect ? this.#asked : 0 })
    this.#post({ added: [grantId] })
  }

  /**
   * Whether a lease is still there, as far as this process can know. After it was frozen, or cut off from its broker, it does
   * not know until the broker has told.
   */
  holds(grantId: number): boolean {
    const nowMs = loopWatch.look()
    const grant = this.#grants.get(grantId)
    if (grant === undefined || grant.question > this.#answered) return false
    return nowMs - Math.max(grant.givenAtMs, this.#extendedAtMs) < this.#leaseMs
  }

  /** Whether the broker is told which leases there are even when there are none: a reply may be lost or held up. */
  reportAlways(isOn: boolean): void {
    if (isOn === this.#reportsAlways) return
    this.#reportsAlways = isOn
    this.#post({})
  }

  /** Nothing of it is handled any more. */
  remove(grantId: number): void {
    if (this.#grants.delete(grantId)) this.#removed.push(grantId)
  }

  close(): Promise<void> {
    this.#isClosed = true
    loopWatch.delete(this.#watcher)
    return this.#seat.close()
  }

  /** When the process stood still for long, the leases that it has are in question. */
  #stoodStill(gapMs: number, nowMs: number): void {
    if (gapMs < this.#leaseMs / 2) return
    this.#stalledUntilMs = nowMs
    const question = ++this.#asked
    for (const [id, { givenAtMs }] of this.#grants) this.#grants.set(id, { givenAtMs, question })
    this.#post({})
  }

  #reported({ lost, extended }: LeaseThreadReport): void {
    if (this.#isClosed) return
    for (const id of lost) this.#grants.delete(id)
    if (lost.length > 0) this.#onLost(lost)
    if (extended === undefined) return
    this.#extendedAtMs = extended.atMs
    this.#answered = extended.question
    this.#onExtended()
  }

  #post({ added = [], removed = [] }: Partial<Pick<LeaseThreadMessage, 'added' | 'removed'>>): void {
    this.#seat.post({ added, removed, question: this.#asked, reportsAlways: this.#reportsAlways })
  }
}

interface Grant {
  readonly givenAtMs: number
  /** The question that has to be answered before it counts as held; 0: none. */
  readonly question: number
}
