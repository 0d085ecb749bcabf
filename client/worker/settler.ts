import { type commands, isMillraceError, type RequestOf } from '../../protocol/index.js'
import type { Place } from './work_message.js'

type SettleRequest = RequestOf<typeof commands.queueSettle>
type SettleEntry = SettleRequest['entries'][number]

/** How a delivery ended. */
export interface Outcome {
  readonly outcome: SettleEntry['outcome']
  readonly delayMs?: number | undefined
  readonly error?: string | undefined
}

export interface SettlerOptions {
  /** Sends one request and tries it again while that can help. */
  readonly send: (
    entries: readonly SettleEntry[],
  ) => Promise<{ readonly refused: readonly (readonly [number, number])[] }>
  /** An acknowledgement came too late: somebody else may have handled the message as well. */
  readonly refused: (place: Place) => void
  readonly failed: (error: unknown) => void
  /** Something was settled, or was given up. */
  readonly settled: (count: number) => void
}

interface Pending {
  readonly place: Place
  readonly outcome: Outcome
}

const requestsInFlightMax = 4
const entriesMax = 20_000
const pauseMs = 200

/** Tells the broker how deliveries ended: those of one turn of the event loop together. */
export class Settler {
  readonly #options: SettlerOptions
  #pending: Pending[] = []
  #inFlight = 0
  #isPlanned = false
  #isClosed = false
  #whenIdle: (() => void)[] = []

  constructor(options: SettlerOptions) {
    this.#options = options
  }

  /** Deliveries whose end the broker has not confirmed. */
  get isIdle(): boolean {
    return this.#pending.length === 0 && this.#inFlight === 0
  }

  add(place: Place, outcome: Outcome): void {
    this.#pending.push({ place, outcome })
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

  async #send(pending: readonly Pending[]): Promise<void> {
    this.#inFlight++
    const entries = entriesOf(pending)
    try {
      const { refused } = await this.#options.send(entries.map(({ entry }) => entry))
      for (const [index, offset] of refused) {
        const place = entries[index]?.places.find((one) => one.offset === offset)
        if (place !== undefined) this.#options.refused(place)
      }
      this.#options.settled(pending.length)
    } catch (error) {
      this.#options.failed(error)
      // The lease runs on: the end of the delivery is told until the broker has heard it or the worker is closed.
      if (!this.#isClosed && isMillraceError(error) && error.retryable) {
        await new Promise((resolve) => setTimeout(resolve, pauseMs).unref())
        this.#pending.unshift(...pending)
      } else this.#options.settled(pending.length)
    }
    this.#inFlight--
    if (this.#pending.length > 0) this.#plan()
    else this.#ended()
  }

  #ended(): void {
    if (!this.isIdle && !this.#isClosed) return
    for (const resolve of this.#whenIdle.splice(0)) resolve()
  }
}

interface Entry {
  readonly entry: SettleEntry
  readonly places: readonly Place[]
}

/** What ended in the same way under one grant goes together. */
function entriesOf(pending: readonly Pending[]): Entry[] {
  const together = new Map<string, { outcome: Outcome; places: Place[] }>()
  for (const { place, outcome } of pending) {
    const { topicId, partition, grantId } = place
    const { outcome: how, delayMs = '', error = '' } = outcome
    const key = `${how}/${grantId}/${topicId}/${partition}/${delayMs}/${error}`
    const known = together.get(key)
    if (known === undefined) together.set(key, { outcome, places: [place] })
    else known.places.push(place)
  }
  return [...together.values()].map(({ outcome, places }) => {
    const { topicId, partition, grantId } = places[0] as Place
    const offsets = places.map(({ offset }) => offset).sort((a, b) => a - b)
    return { entry: { topicId, partition, grantId, offsets: runsOf(offsets), ...outcome }, places }
  })
}

function runsOf(offsets: readonly number[]): number[] {
  const runs: number[] = []
  let last = Number.NEGATIVE_INFINITY
  for (const offset of offsets) {
    if (offset === last + 1) (runs[runs.length - 1] as number)++
    else runs.push(offset, 1)
    last = offset
  }
  return runs
}
