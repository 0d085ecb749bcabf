import { Worker as Thread } from 'node:worker_threads'
import { MillraceError } from '../../protocol/index.js'
import { deferred } from '../consumer/deferred.js'
import {
  type FromLeaseThread,
  keepLeases,
  type LeaseKeeping,
  type LeaseThreadData,
  type LeaseThreadMessage,
  type LeaseThreadReport,
  type ToLeaseThread,
} from './lease_keeping.js'

const restartPauseMs = 1_000

/** The callbacks of a worker whose leases the host keeps. */
export interface LeaseOwner {
  reported(report: LeaseThreadReport): void
  /** The thread failed, or did not start. */
  failed(error: unknown): void
  /** Lease keeping has restarted and knows no leases. */
  restarted(): void
}

/** The registration of a worker at its host. */
export interface LeaseSeat {
  /** Resolves when lease keeping runs: from then on a handler may block the event loop. */
  readonly started: Promise<void>
  post(message: LeaseThreadMessage): void
  /** Resolves when lease keeping sends nothing more to the broker for this worker. */
  close(): Promise<void>
}

interface Seat {
  readonly id: number
  readonly data: LeaseThreadData
  readonly owner: LeaseOwner
  /** Runs lease keeping in the main thread, if there is no thread for it. */
  inside: LeaseKeeping | undefined
  whenClosed: (() => void) | undefined
}

/**
 * Runs lease keeping for all workers of the process in one thread, so that a handler that blocks the event loop does
 * not lose its messages. The thread runs while there are workers. If it cannot start, for example in a bundled program,
 * lease keeping runs in the main thread.
 */
export class LeaseHost {
  readonly #threadUrl: () => URL
  readonly #seats = new Map<number, Seat>()
  /** State of the current thread, or of the next one. */
  #started = deferred<void>()
  #thread: Thread | undefined
  #restart: NodeJS.Timeout | undefined
  #nextId = 1
  /** Why the thread cannot start. */
  #problem: MillraceError | undefined

  /** @param threadUrl location of the code of the thread */
  constructor(threadUrl: () => URL = () => new URL('./lease_thread.js', import.meta.url)) {
    this.#threadUrl = threadUrl
  }

  open(data: LeaseThreadData, owner: LeaseOwner): LeaseSeat {
    const seat: Seat = { id: this.#nextId++, data, owner, inside: undefined, whenClosed: undefined }
    this.#seats.set(seat.id, seat)
    if (this.#problem !== undefined) this.#openInside(seat, this.#problem)
    else if (this.#thread !== undefined) this.#send({ worker: seat.id, open: data })
    else if (this.#restart === undefined) this.#start()
    return {
      started: this.#started.promise,
      post: (message) => {
        if (seat.inside !== undefined) seat.inside.receive(message)
        else this.#send({ worker: seat.id, message })
      },
      close: () => this.#close(seat),
    }
  }

  #send(message: ToLeaseThread): void {
    this.#thread?.postMessage(message)
  }

  /** Starts the thread for all workers. */
  #start(): void {
    let thread: Thread
    try {
      thread = new Thread(this.#threadUrl())
    } catch (cause) {
      this.#useMainThread(cause)
      return
    }
    thread.unref()
    this.#thread = thread
    let isStarted = false
    thread.on('message', (message: FromLeaseThread) => {
      if ('started' in message) {
        isStarted = true
        if (this.#thread === thread) this.#started.resolve()
      } else if ('report' in message) this.#seats.get(message.worker)?.owner.reported(message.report)
      else this.#closed(message.worker)
    })
    thread.on('error', (error) => {
      if (this.#thread !== thread) return
      if (isStarted) for (const { owner } of [...this.#seats.values()]) owner.failed(error)
      else this.#useMainThread(error)
    })
    thread.on('exit', () => {
      if (this.#thread !== thread) return
      this.#ended()
      for (const { id, whenClosed } of [...this.#seats.values()])
        if (whenClosed !== undefined) this.#closed(id)
      if (this.#seats.size === 0) return
      this.#restart = setTimeout(() => {
        this.#restart = undefined
        this.#start()
        for (const { owner } of [...this.#seats.values()]) owner.restarted()
      }, restartPauseMs).unref()
    })
    for (const { id, data } of this.#seats.values()) this.#send({ worker: id, open: data })
  }

  #useMainThread(cause: unknown): void {
    this.#thread = undefined
    const reason = cause instanceof Error ? cause.message : String(cause)
    const effect =
      'the main thread extends leases: a handler that blocks the event loop for longer than a lease loses it'
    const remedy = 'a bundler must leave the package "millrace" external'
    const problem = `the lease thread did not start (${reason}); ${effect}; ${remedy}`
    this.#problem = new MillraceError('LEASE_THREAD_FAILED', problem, { cause })
    this.#started.resolve()
    for (const seat of [...this.#seats.values()]) {
      if (seat.whenClosed !== undefined) this.#closed(seat.id)
      else this.#openInside(seat, this.#problem)
    }
  }

  #openInside(seat: Seat, problem: MillraceError): void {
    seat.inside = keepLeases(seat.data, (report) => seat.owner.reported(report))
    // `failed` must not run inside the constructor of the worker.
    queueMicrotask(() => {
      if (!this.#seats.has(seat.id)) return
      seat.owner.failed(problem)
      seat.owner.restarted()
    })
  }

  #close(seat: Seat): Promise<void> {
    if (!this.#seats.has(seat.id)) return Promise.resolve()
    if (this.#thread === undefined) {
      seat.inside?.end()
      this.#closed(seat.id)
      return Promise.resolve()
    }
    const thread = this.#thread
    return new Promise((resolve) => {
      seat.whenClosed = resolve
      // Nothing else may keep the process running now, so the thread must do so until it has replied.
      thread.ref()
      this.#send({ worker: seat.id, close: true })
    })
  }

  /** Removes a worker; ends the thread after the last one. */
  #closed(id: number): void {
    const seat = this.#seats.get(id)
    this.#seats.delete(id)
    seat?.whenClosed?.()
    if (this.#seats.size > 0) {
      const isClosing = [...this.#seats.values()].some(({ whenClosed }) => whenClosed !== undefined)
      if (!isClosing) this.#thread?.unref()
      return
    }
    clearTimeout(this.#restart)
    this.#restart = undefined
    const thread = this.#thread
    if (thread !== undefined) this.#ended()
    void thread?.terminate()
  }

  #ended(): void {
    this.#thread = undefined
    this.#started.resolve()
    this.#started = deferred()
  }
}

/** The host of all workers of this process. */
export const leaseHost = new LeaseHost()
