import { type commands, isMillraceError, type RequestOf, runsOf } from '../../protocol/index.js'
import type { Place } from './work_message.js'

type SettleRequest = RequestOf<typeof commands.queueSettle>
type SettleEntry = SettleRequest['entries'][number]

/** How a delivery ended. */
export interface Outcome {
  readonly outcome: SettleEntry['outcome']
  readonly delayMs?: number | undefined
  readonly error?: string | undefined
  /** The error of the handler; the client does not send it. */
  readonly cause?: unknown
}

/** A finished delivery. */
interface Delivered {
  readonly place: Place
}

export interface SettlerOptions<Message extends Delivered> {
  /** Sends one request; a retry has the same request number. */
  readonly send: (
    entries: readonly SettleEntry[],
    requestNumber: number,
  ) => Promise<{ readonly refused: readonly (readonly [number, number])[] }>
  /** An acknowledgement came too late: another worker may have handled the message too. */
  readonly refused: (message: Message) => void
  readonly failed: (error: unknown) => void
  /** The broker has confirmed the outcome. */
  readonly confirmed: (message: Message, outcome: Outcome) => void
  /**
   * The outcome is confirmed, refused or abandoned: the worker does not need the lease any more. Not called for
   * outcomes that `close` abandons.
   */
  readonly ended: (message: Message) => void
}

interface Pending<Message> {
  readonly message: Message
  readonly outcome: Outcome
}

/** Outcomes in flight and waiting outcomes. */
interface Line<Message> {
  pending: Pending<Message>[]
  inFlight: number
}

/** Limit of each line. */
const requestsInFlightMax = 4
const entriesMax = 20_000
/** Limit of error texts in a request, so that the request fits into a body. */
const errorBytesMax = 1024 * 1024
const pauseMs = 200

/** Reports to the broker how deliveries ended, in one request for each turn of the event loop. */
export class Settler<Message extends Delivered> {
  readonly #options: SettlerOptions<Message>
  /**
   * Acknowledgements need no disk space at the broker, so they must not wait behind outcomes that may make dead
   * letters.
   */
  readonly #done: Line<Message> = { pending: [], inFlight: 0 }
  readonly #failed: Line<Message> = { pending: [], inFlight: 0 }
  #requests = 0
  #isPlanned = false
  #isClosed = false
  #whenIdle: (() => void)[] = []

  constructor(options: SettlerOptions<Message>) {
    this.#options = options
  }

  /** Whether the broker has confirmed all outcomes. */
  get isIdle(): boolean {
    return [this.#done, this.#failed].every(({ pending, inFlight }) => pending.length === 0 && inFlight === 0)
  }

  add(message: Message, outcome: Outcome): void {
    if (this.#isClosed) return
    const isDone = outcome.outcome === 'ack' || outcome.outcome === 'release'
    const line = isDone ? this.#done : this.#failed
    line.pending.push({ message, outcome })
    this.#plan()
  }

  /** Resolves when all added outcomes are confirmed or abandoned. */
  idle(): Promise<void> {
    if (this.isIdle) return Promise.resolve()
    return new Promise((resolve) => this.#whenIdle.push(resolve))
  }

  /** Abandons unconfirmed outcomes. */
  close(): void {
    this.#isClosed = true
    this.#done.pending = []
    this.#failed.pending = []
    this.#idle()
  }

  #plan(): void {
    if (this.#isPlanned) return
    this.#isPlanned = true
    setImmediate(() => {
      this.#isPlanned = false
      for (const line of [this.#done, this.#failed])
        while (line.pending.length > 0 && line.inFlight < requestsInFlightMax) void this.#send(line)
    })
  }

  #take({ pending }: Line<Message>): Pending<Message>[] {
    let errorBytes = 0
    let count = 0
    for (const { outcome } of pending) {
      if (count === entriesMax || errorBytes > errorBytesMax) break
      errorBytes += Buffer.byteLength(outcome.error ?? '')
      count++
    }
    return pending.splice(0, count)
  }

  async #send(line: Line<Message>): Promise<void> {
    const pending = this.#take(line)
    line.inFlight++
    const entries = entriesOf(pending)
    const refused = await this.#refusedOf(entries)
    if (refused !== undefined) this.#tell(entries, refused)
    for (const { message } of pending) this.#options.ended(message)
    line.inFlight--
    if (line.pending.length > 0) this.#plan()
    else this.#idle()
  }

  /** Sends the outcomes until the broker answers or the worker closes, while the lease lasts; undefined: no success. */
  async #refusedOf(
    entries: readonly Entry<Message>[],
  ): Promise<readonly (readonly [number, number])[] | undefined> {
    const requestNumber = this.#requests++
    for (;;) {
      try {
        const all = entries.map(({ entry }) => entry)
        return (await this.#options.send(all, requestNumber)).refused
      } catch (error) {
        this.#options.failed(error)
        if (this.#isClosed || !isMillraceError(error) || !error.retryable) return undefined
        await new Promise((resolve) => setTimeout(resolve, pauseMs).unref())
        if (this.#isClosed) return undefined
      }
    }
  }

  #tell(entries: readonly Entry<Message>[], refused: readonly (readonly [number, number])[]): void {
    const refusedOf = new Map<number, Set<number>>()
    for (const [index, offset] of refused) {
      const offsets = refusedOf.get(index) ?? new Set()
      refusedOf.set(index, offsets.add(offset))
    }
    for (const [index, { settled }] of entries.entries()) {
      const lost = refusedOf.get(index)
      for (const { message, outcome } of settled) {
        if (lost?.has(message.place.offset)) this.#options.refused(message)
        else this.#options.confirmed(message, outcome)
      }
    }
  }

  #idle(): void {
    if (!this.isIdle && !this.#isClosed) return
    for (const resolve of this.#whenIdle.splice(0)) resolve()
  }
}

interface Entry<Message> {
  readonly entry: SettleEntry
  readonly settled: readonly Pending<Message>[]
}

/** Combines equal outcomes under one lease. */
function entriesOf<Message extends Delivered>(pending: readonly Pending<Message>[]): Entry<Message>[] {
  const together = new Map<string, Pending<Message>[]>()
  let last: Pending<Message> | undefined
  let beside: Pending<Message>[] = []
  for (const one of pending) {
    // Most outcomes equal the one before.
    if (
      last !== undefined &&
      last.outcome === one.outcome &&
      isBeside(last.message.place, one.message.place)
    ) {
      beside.push(one)
      continue
    }
    const key = keyOf(one.message.place, one.outcome)
    beside = together.get(key) ?? []
    beside.push(one)
    together.set(key, beside)
    last = one
  }
  return [...together.values()].map((settled) => {
    const [first] = settled as [Pending<Message>]
    const { topicId, partition, grantId } = first.message.place
    const { outcome, delayMs, error } = first.outcome
    const offsets = settled.map(({ message }) => message.place.offset).sort((a, b) => a - b)
    const entry = { topicId, partition, grantId, offsets: runsOf(offsets), outcome, delayMs, error }
    return { entry, settled }
  })
}

function isBeside(a: Place, b: Place): boolean {
  return a.grantId === b.grantId && a.partition === b.partition && a.topicId === b.topicId
}

function keyOf({ topicId, partition, grantId }: Place, outcome: Outcome): string {
  const { delayMs = '', error = '' } = outcome
  return `${outcome.outcome}/${grantId}/${topicId}/${partition}/${delayMs}/${error}`
}
