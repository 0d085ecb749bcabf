import { decodeBody, encodeBody, offsetsOf, type Runs, rangesOf } from '../../protocol/index.js'

/** A message that is not finished. */
export interface OpenMessage {
  /** Number of deliveries that ended in neither an acknowledgement nor a release. */
  attempts: number
  /** Earliest time of the next delivery, ms since 1970; 0: at once. */
  dueAtMs: number
  /** Grant id of its lease; 0: the message has no lease. */
  grantId: number
  /** Length of that lease, as the worker requested it. */
  leaseMs: number
  /** Worker of that lease; empty if unknown. */
  workerId: string
  /** End of a lease that a restart of the broker renewed, ms since 1970; 0: the next restart renews it. */
  endsAtMs: number
}

type StoredMessage = readonly [
  offset: number,
  attempts: number,
  dueAtMs: number,
  grantId: number,
  leaseMs: number,
  workerId?: string,
  endsAtMs?: number,
]

/** Stores changed pages in the state; they become durable with the next checkpoint. */
export interface DeliveryStore {
  putProgress(next: number): void
  putPage(page: number, value: Uint8Array): void
  delPage(page: number): void
}

/** Number of offsets per page. */
const pageOffsets = 64

/**
 * Progress of a queue group in one partition log: the first offset that was never leased, and the unfinished messages
 * before it. All other messages before it are finished. It changes only by committed operations, in the order of the
 * journal.
 */
export class DeliveryState {
  /** First offset that was never leased; infinite for dead letters, which are open only after a redrive. */
  next: number
  readonly open = new Map<number, OpenMessage>()
  readonly #changedPages = new Set<number>()
  readonly #storedPages = new Set<number>()

  constructor(next: number) {
    this.next = next
  }

  /** All messages before this offset are finished. */
  get doneOffset(): number {
    let done = this.next
    for (const offset of this.open.keys()) if (offset < done) done = offset
    return done
  }

  /** Whether the message was acknowledged, has died, or is gone. */
  isDone(offset: number): boolean {
    return offset < this.next && !this.open.has(offset)
  }

  leased(grantId: number, leaseMs: number, offsets: Runs, workerId = ''): void {
    for (const offset of offsetsOf(offsets)) {
      this.#advance(offset)
      const message = this.open.get(offset)
      if (message !== undefined) {
        message.grantId = grantId
        message.leaseMs = leaseMs
        message.workerId = workerId
        message.endsAtMs = 0
      } else if (offset === this.next) {
        this.open.set(offset, { attempts: 0, dueAtMs: 0, grantId, leaseMs, workerId, endsAtMs: 0 })
        this.next++
      }
      this.#changed(offset)
    }
  }

  done(offsets: Runs): void {
    for (const [first, end] of rangesOf(offsets)) {
      this.#advance(first)
      // A range of lost messages may have billions of offsets.
      if (end - first > this.open.size) {
        for (const offset of this.open.keys()) if (offset >= first && offset < end) this.#close(offset)
      } else for (let offset = first; offset < end; offset++) this.#close(offset)
      if (end > this.next) this.next = end
    }
  }

  failed(offset: number, dueAtMs: number): void {
    const message = this.open.get(offset)
    if (message === undefined) return
    message.attempts++
    message.dueAtMs = dueAtMs
    message.grantId = 0
    this.#changed(offset)
  }

  released(offsets: Runs): void {
    for (const offset of offsetsOf(offsets)) {
      const message = this.open.get(offset)
      if (message === undefined) continue
      message.grantId = 0
      this.#changed(offset)
    }
  }

  /** Sets the end of a lease, independent of restarts of the broker; 0: a restart renews it. */
  bounded(grantId: number, endsAtMs: number, offsets: Runs): void {
    for (const offset of offsetsOf(offsets)) {
      const message = this.open.get(offset)
      if (message?.grantId !== grantId) continue
      message.endsAtMs = endsAtMs
      this.#changed(offset)
    }
  }

  /** Offsets to deliver (again), counted from 0. */
  reopened(offsets: Runs): void {
    for (const offset of offsetsOf(offsets)) {
      this.open.set(offset, unleased())
      this.#changed(offset)
    }
  }

  /** Writes changed pages to the state. */
  save(store: DeliveryStore): void {
    store.putProgress(this.next)
    for (const page of this.#changedPages) {
      const messages: StoredMessage[] = []
      for (let offset = page * pageOffsets; offset < (page + 1) * pageOffsets; offset++) {
        const message = this.open.get(offset)
        if (message === undefined) continue
        const { attempts, dueAtMs, grantId, leaseMs, workerId, endsAtMs } = message
        if (grantId === 0) messages.push([offset, attempts, dueAtMs, 0, leaseMs])
        else messages.push([offset, attempts, dueAtMs, grantId, leaseMs, workerId, endsAtMs])
      }
      if (messages.length > 0) {
        store.putPage(page, encodeBody(messages))
        this.#storedPages.add(page)
      } else if (this.#storedPages.delete(page)) store.delPage(page)
    }
    this.#changedPages.clear()
  }

  /** Loads a stored page. */
  load(page: number, value: Uint8Array): void {
    this.#storedPages.add(page)
    for (const stored of decodeBody(value) as StoredMessage[]) {
      const [offset, attempts, dueAtMs, grantId, leaseMs, workerId = '', endsAtMs = 0] = stored
      this.open.set(offset, { attempts, dueAtMs, grantId, leaseMs, workerId, endsAtMs })
    }
  }

  /** Removes all pages from the state. */
  drop(store: DeliveryStore): void {
    for (const page of this.#storedPages) store.delPage(page)
    this.#storedPages.clear()
    this.#changedPages.clear()
    this.open.clear()
  }

  /** Skipped offsets become open messages. */
  #advance(offset: number): void {
    for (; this.next < offset; this.next++) {
      this.open.set(this.next, unleased())
      this.#changed(this.next)
    }
  }

  #close(offset: number): void {
    if (this.open.delete(offset)) this.#changed(offset)
  }

  #changed(offset: number): void {
    this.#changedPages.add(Math.floor(offset / pageOffsets))
  }
}

function unleased(): OpenMessage {
  return { attempts: 0, dueAtMs: 0, grantId: 0, leaseMs: 0, workerId: '', endsAtMs: 0 }
}
