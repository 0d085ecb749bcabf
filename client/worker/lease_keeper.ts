import { Worker as Thread } from 'node:worker_threads'
import { MillraceError } from '../../protocol/index.js'
import {
  keepLeases,
  type LeaseThreadData,
  type LeaseThreadMessage,
  type LeaseThreadReport,
} from './lease_keeping.js'

const beatIntervalMs = 100
const restartPauseMs = 1_000

/**
 * Prolongs leases from a thread of its own, so that a handler which keeps the event loop busy does not lose what it works
 * on. The thread stops when the event loop has not turned for `blockedMsMax`. Where the file of the thread is missing, as in
 * a program that a bundler put into one file, the main thread prolongs the leases.
 */
export class LeaseKeeper {
  readonly #data: Omit<LeaseThreadData, 'beat'>
  readonly #onLost: (grantIds: readonly number[]) => void
  readonly #onExtended: () => void
  readonly #onError: (error: unknown) => void
  readonly #grants = new Map<number, Grant>()
  /** When the event loop turned last, by the process's monotonic clock in ms. */
  readonly #beat = new BigInt64Array(new SharedArrayBuffer(8))
  readonly #beating: NodeJS.Timeout
  readonly #threadUrl: () => URL
  #thread: Thread | undefined
  /** Lease keeping in this thread, when there can be no other. */
  #inside: { receive(message: LeaseThreadMessage): void; end(): void } | undefined
  #removed: number[] = []
  #reportsAlways = false
  #extendedAtMs = 0
  /** Questions whether the leases are still there: those that were put, and those that are answered. */
  #asked = 0
  #answered = 0
  /** When this process was seen to run last, and when it was seen to run again after it had not. */
  #seenMs = monotonicMs()
  #stalledUntilMs = 0
  #isClosed = false

  /**
   * @param onLost told of leases that are over
   * @param onExtended told when all others were prolonged
   * @param onError told when the thread failed; it is started again, or the main thread takes over
   * @param threadUrl where the code of the thread is
   */
  constructor(
    data: Omit<LeaseThreadData, 'beat'>,
    onLost: (grantIds: readonly number[]) => void,
    onExtended: () => void,
    onError: (error: unknown) => void,
    threadUrl: () => URL = () => new URL('./lease_thread.js', import.meta.url),
  ) {
    this.#data = data
    this.#onLost = onLost
    this.#onExtended = onExtended
    this.#onError = onError
    this.#threadUrl = threadUrl
    this.#turned()
    this.#beating = setInterval(() => this.#turned(), beatIntervalMs).unref()
    this.#start()
  }

  /** @param requestedAtMs when the request was sent that it was given for, by `monotonicMs` */
  add(grantId: number, requestedAtMs: number): void {
    const nowMs = this.#look()
    // The reply may have lain in the socket while the process stood still.
    // A reply that took long may be one of a lease that is over.
    const isLate = nowMs - requestedAtMs >= this.#data.leaseMs / 2
    const isSuspect = isLate || requestedAtMs < this.#stalledUntilMs
    if (isSuspect) this.#asked++
    this.#grants.set(grantId, { givenAtMs: nowMs, question: isSuspect ? this.#asked : 0 })
    this.#post({ added: [grantId], removed: [], question: this.#asked })
  }

  /**
   * Whether a lease is still there, as far as this process can know. After it was frozen, or cut off from its broker, it does
   * not know until the broker has told.
   */
  holds(grantId: number): boolean {
    const nowMs = this.#look()
    const grant = this.#grants.get(grantId)
    if (grant === undefined || grant.question > this.#answered) return false
    return nowMs - Math.max(grant.givenAtMs, this.#extendedAtMs) < this.#data.leaseMs
  }

  /** Whether the broker is told which leases there are even when there are none: a reply may be lost or held up. */
  reportAlways(isOn: boolean): void {
    if (isOn === this.#reportsAlways) return
    this.#reportsAlways = isOn
    this.#post({ added: [], removed: [], question: this.#asked })
  }

  /** Nothing of it is handled any more. */
  remove(grantId: number): void {
    if (this.#grants.delete(grantId)) this.#removed.push(grantId)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    clearInterval(this.#beating)
    this.#inside?.end()
    const thread = this.#thread
    this.#thread = undefined
    await thread?.terminate()
  }

  #turned(): void {
    Atomics.store(this.#beat, 0, BigInt(this.#look()))
    if (this.#removed.length > 0)
      this.#post({ added: [], removed: this.#removed.splice(0), question: this.#asked })
  }

  /** Looks at the clock; when the process stood still for long, the leases that it has are in question. */
  #look(): number {
    const nowMs = monotonicMs()
    const stoodStillMs = nowMs - this.#seenMs
    this.#seenMs = nowMs
    if (stoodStillMs < this.#data.leaseMs / 2) return nowMs
    Atomics.store(this.#beat, 0, BigInt(nowMs))
    this.#stalledUntilMs = nowMs
    const question = ++this.#asked
    for (const [id, { givenAtMs }] of this.#grants) this.#grants.set(id, { givenAtMs, question })
    this.#post({ added: [], removed: [], question })
    return nowMs
  }

  #start(): void {
    const workerData: LeaseThreadData = { ...this.#data, beat: this.#beat }
    let thread: Thread
    try {
      thread = new Thread(this.#threadUrl(), { workerData })
    } catch (cause) {
      this.#startInside(cause)
      return
    }
    let isStarted = false
    thread.unref()
    this.#thread = thread
    thread.on('message', (report: LeaseThreadReport) => {
      if (report.started === true) isStarted = true
      else this.#reported(report)
    })
    thread.on('error', (error) => {
      if (this.#isClosed || this.#thread !== thread) return
      if (isStarted) this.#onError(error)
      else this.#startInside(error)
    })
    thread.on('exit', () => {
      if (this.#isClosed || this.#thread !== thread) return
      this.#thread = undefined
      setTimeout(() => {
        if (this.#isClosed) return
        this.#start()
        this.#postAll()
      }, restartPauseMs).unref()
    })
  }

  /** Prolongs leases in this thread. */
  #startInside(cause: unknown): void {
    this.#thread = undefined
    const reason = cause instanceof Error ? cause.message : String(cause)
    const effect =
      'the main thread extends leases: a handler that blocks the event loop for longer than a lease loses it'
    const remedy = 'a bundler must leave the package "millrace" external'
    // Not from within the constructor of the worker.
    queueMicrotask(() => {
      if (!this.#isClosed)
        this.#onError(
          new MillraceError(
            'LEASE_THREAD_FAILED',
            `the lease thread did not start (${reason}); ${effect}; ${remedy}`,
            { cause },
          ),
        )
    })
    let receive: (message: LeaseThreadMessage) => void = () => {}
    const end = keepLeases(
      { ...this.#data, beat: this.#beat },
      {
        post: (report) => this.#reported(report),
        onMessage: (receiver) => {
          receive = receiver
        },
      },
    )
    this.#inside = { receive, end }
    this.#postAll()
  }

  #postAll(): void {
    this.#post({ added: [...this.#grants.keys()], removed: [], question: this.#asked })
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

  #post(message: Omit<LeaseThreadMessage, 'reportsAlways'>): void {
    const sent: LeaseThreadMessage = { ...message, reportsAlways: this.#reportsAlways }
    this.#thread?.postMessage(sent)
    this.#inside?.receive(sent)
  }
}

interface Grant {
  readonly givenAtMs: number
  /** The question that has to be answered before it counts as held; 0: none. */
  readonly question: number
}

/** The clock that all threads of the process share. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1_000_000n)
}
