import { type commands, isMillraceError, type RequestOf, runsOf } from '../../protocol/index.js'
import type { Place } from './work_message.js'

type SettleRequest = RequestOf<typeof commands.queueSettle>
type SettleEntry = SettleRequest['entries'][number]

/** How a delivery ended. */
export interface Outcome {
  readonly outcome: SettleEntry['outcome']
  readonly delayMs?: number | undefined
  readonly error?: string | undefined
}

/** A delivery that has ended. */
interface Delivered {
  readonly place: Place
}

export interface SettlerOptions<Message extends Delivered> {
  /** Sends one request and tries it again while that can help. */
  readonly send: (
    entries: readonly SettleEntry[],
  ) => Promise<{ readonly refused: readonly (readonly [number, number])[] }>
  /** An acknowledgement came too late: somebody else may have handled the message as well. */
  readonly refused: (message: Message) => void
  readonly failed: (error: unknown) => void
  /** The broker has confirmed it. */
  readonly confirmed: (message: Message, outcome: Outcome['outcome']) => void
}

interface Pending<Message> {
  readonly message: Message
  readonly outcome: Outcome
}

const requestsInFlightMax = 4
const entriesMax = 20_000
const pauseMs = 200

/** Tells the broker how deliveries ended: those of one turn of the event loop together. */
export class Settler<Message extends Delivered> {
  readonly #options: SettlerOptions<Message>
  #pending: Pending<Message>[] = []
  #inFlight = 0
  #isPlanned = false
  #isClosed = false
  #whenIdle: (() => void)[] = []

  constructor(options: SettlerOptions<Message>) {
    this.#options = options
  }

  /** Deliveries whose end the broker has not confirmed. */
  get isIdle(): boolean {
    return this.#pending.length === 0 && this.#inFlight === 0
  }

  add(message: Message, outcome: Outcome): void {
    this.#pending.push({ message, outcome })
    this.#plan()
  }

  /** Resolves when everything that was added is confirmed or given up. */
  idle(): Promise<void> {
    if (this.isIdle) return Promise.resolve()
    return new Promise((resolve) => this.#whenIdle.push(resolve))
  }

  /** Gives up what is not confirmed. */
  close(): void {
    this.#isClosed = true
    this.#pending = []
    this.#ended()
  }

  #plan(): void {
    if (this.#isPlanned) return
    this.#isPlanned = true
    setImmediate(() => {
      this.#isPlanned = false
      while (this.#pending.length > 0 && this.#inFlight < requestsInFlightMax)
        void this.#send(this.#pending.splice(0, entriesMax))
    })
  }

  async #send(pending: readonly Pending<Message>[]): Promise<void> {
    this.#inFlight++
    const entries = entriesOf(pending)
    try {
      const { refused } = await this.#options.send(entries.map(({ entry }) => entry))
      this.#tell(entries, refused)
    } catch (error) {
      this.#options.failed(error)
      // The lease runs on: the end of the delivery is told until the broker has heard it or the worker is closed.
      if (!this.#isClosed && isMillraceError(error) && error.retryable) {
        await new Promise((resolve) => setTimeout(resolve, pauseMs).unref())
        this.#pending.unshift(...pending)
      }
    }
    this.#inFlight--
    if (this.#pending.length > 0) this.#plan()
    else this.#ended()
  }

  #tell(entries: readonly Entry<Message>[], refused: readonly (readonly [number, number])[]): void {
    const refusedOf = new Map<number, Set<number>>()
    for (const [index, offset] of refused) {
      const offsets = refusedOf.get(index) ?? new Set()
      refusedOf.set(index, offsets.add(offset))
    }
    for (const [index, { entry, messages }] of entries.entries()) {
      const lost = refusedOf.get(index)
      for (const message of messages) {
        if (lost?.has(message.place.offset)) this.#options.refused(message)
        else this.#options.confirmed(message, entry.outcome)
      }
    }
  }

  #ended(): void {
    if (!this.isIdle && !this.#isClosed) return
    for (const resolve of this.#whenIdle.splice(0)) resolve()
  }
}

interface Entry<Message> {
  readonly entry: SettleEntry
  readonly messages: readonly Message[]
}

/** What ended in the same way under one grant goes together. */
function entriesOf<Message extends Delivered>(pending: readonly Pending<Message>[]): Entry<Message>[] {
  const together = new Map<string, { outcome: Outcome; messages: Message[] }>()
  let last: { message: Message; outcome: Outcome; messages: Message[] } | undefined
  for (const { message, outcome } of pending) {
    // Mostly it is the same as the one before.
    if (last !== undefined && last.outcome === outcome && isBeside(last.message.place, message.place)) {
      last.messages.push(message)
      continue
    }
    const key = keyOf(message.place, outcome)
    const known = together.get(key) ?? { outcome, messages: [] }
    known.messages.push(message)
    together.set(key, known)
    last = { message, outcome, messages: known.messages }
  }
  return [...together.values()].map(({ outcome, messages }) => {
    const { topicId, partition, grantId } = (messages[0] as Message).place
    const offsets = messages.map(({ place }) => place.offset).sort((a, b) => a - b)
    return { entry: { topicId, partition, grantId, offsets: runsOf(offsets), ...outcome }, messages }
  })
}

function isBeside(a: Place, b: Place): boolean {
  return a.grantId === b.grantId && a.partition === b.partition && a.topicId === b.topicId
}

function keyOf({ topicId, partition, grantId }: Place, outcome: Outcome): string {
  const { delayMs = '', error = '' } = outcome
  return `${outcome.outcome}/${grantId}/${topicId}/${partition}/${delayMs}/${error}`
}
