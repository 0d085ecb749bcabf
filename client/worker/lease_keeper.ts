import { type LeaseHost, type LeaseSeat, leaseHost } from './lease_host.js'
import type { LeaseThreadData, LeaseThreadMessage, LeaseThreadReport } from './lease_keeping.js'
import { LoopWatch, type LoopWatcher } from './loop_watch.js'

const loopWatch = new LoopWatch()

/**
 * The leases of a worker. It extends them through the thread of its host, which stops when the event loop has not
 * turned for `blockedMsMax`, and it knows which leases the worker still has.
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
  /** Numbers of checks whether the leases still exist: the last check requested, and the last check answered. */
  #asked = 0
  #answered = 0
  /** End of the last long stall of this process, in ms. */
  #stalledUntilMs = 0
  #isClosed = false

  /**
   * @param onLost gets the leases that are lost
   * @param onExtended called when all other leases were extended
   * @param onError gets the error when the thread failed; the thread restarts, or the main thread takes over
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

  /** Resolves when lease keeping runs: from then on a handler may block the event loop. */
  get started(): Promise<void> {
    return this.#seat.started
  }

  /** @param requestedAtMs time of the request for this lease, by `monotonicMs` */
  add(grantId: number, requestedAtMs: number): void {
    const nowMs = loopWatch.look()
    // The reply may have waited in the socket while the process stood still, or it took so long that its lease may be
    // over.
    const isLate = nowMs - requestedAtMs >= this.#leaseMs / 2
    const isSuspect = isLate || requestedAtMs < this.#stalledUntilMs
    if (isSuspect) this.#asked++
    this.#grants.set(grantId, { givenAtMs: nowMs, question: isSuspect ? this.#asked : 0 })
    this.#post({ added: [grantId] })
  }

  /**
   * Whether the worker still has a lease, as far as this process can know. After a stall of the process, or a lost
   * connection, the answer is no until the broker confirms the lease.
   */
  holds(grantId: number): boolean {
    const nowMs = loopWatch.look()
    const grant = this.#grants.get(grantId)
    if (grant === undefined || grant.question > this.#answered) return false
    return nowMs - Math.max(grant.givenAtMs, this.#extendedAtMs) < this.#leaseMs
  }

  /** Sends reports of leases to the broker even if there are none. Needed when a reply may be lost or delayed. */
  reportAlways(isOn: boolean): void {
    if (isOn === this.#reportsAlways) return
    this.#reportsAlways = isOn
    this.#post({})
  }

  /** Removes a lease whose messages are all settled. */
  remove(grantId: number): void {
    if (this.#grants.delete(grantId)) this.#removed.push(grantId)
  }

  close(): Promise<void> {
    this.#isClosed = true
    loopWatch.delete(this.#watcher)
    return this.#seat.close()
  }

  /** After a long stall of the process, its leases need a check. */
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
  /** Number of the check that must be answered before the lease counts as held; 0: none. */
  readonly question: number
}
