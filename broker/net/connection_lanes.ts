import { MillraceError } from '../../protocol/index.js'
import type { Session } from './session.js'

/** Identity of a connection: `number` grows with each connection of one lane of a client. See `hello`. */
export interface LaneConnection {
  readonly client: string
  readonly lane: string
  readonly number: number
}

type LaneSession = Pick<Session, 'replace' | 'onClose'>

interface Live {
  readonly number: number
  readonly session: LaneSession
}

interface Ended {
  readonly number: number
  readonly endedAtMs: number
}

/** Bytes of an abandoned connection can arrive this long after it: a system retransmits for a quarter of an hour. */
const keptMs = 15 * 60_000
const keptMax = 50_000
const sweepIntervalMs = 60_000
/** Share of the lanes that is forgotten at a time: a search for the oldest entry of a map skips all deleted ones. */
const sweptShare = 1 / 10

/**
 * Finds the connections that their clients have abandoned. A client uses one connection of a lane at a time, so a newer
 * one proves that no request of an older one may take effect any more, whenever its bytes arrive.
 */
export class ConnectionLanes {
  readonly #nowMs: () => number
  readonly #keptMax: number
  readonly #live = new Map<string, Live>()
  /** Lanes without a connection, in the order in which their last one ended. */
  readonly #ended = new Map<string, Ended>()
  #sweptAtMs: number

  /** @param nowMs monotonic clock */
  constructor(nowMs: () => number = () => performance.now(), lanesKeptMax = keptMax) {
    this.#nowMs = nowMs
    this.#keptMax = lanesKeptMax
    this.#sweptAtMs = nowMs()
  }

  /** Lanes that the broker knows, with and without a connection. */
  get size(): number {
    return this.#live.size + this.#ended.size
  }

  /**
   * Makes `session` the connection of its lane, and ends the one before at once.
   * @throws MillraceError STALE_CONNECTION if the lane had a connection with this number or a higher one
   */
  enter(session: LaneSession, { client, lane, number }: LaneConnection): void {
    const nowMs = this.#nowMs()
    this.#forget(nowMs)
    const key = `${client.length} ${client}${lane}`
    const before = this.#live.get(key)
    const last = before === undefined ? this.#ended.get(key) : undefined
    const known = last !== undefined && nowMs - last.endedAtMs > keptMs ? undefined : last
    const newest = before?.number ?? known?.number ?? 0
    if (number <= newest)
      throw new MillraceError(
        'STALE_CONNECTION',
        `this is connection ${number} of the lane "${lane}", and the client has opened connection ${newest} before; expected a higher number`,
      )
    const entered: Live = { number, session }
    this.#live.set(key, entered)
    this.#ended.delete(key)
    before?.session.replace()
    session.onClose(() => {
      if (this.#live.get(key) !== entered) return
      this.#live.delete(key)
      const endedAtMs = this.#nowMs()
      this.#ended.set(key, { number, endedAtMs })
      this.#forget(endedAtMs)
    })
  }

  #forget(nowMs: number): void {
    const isFull = this.#ended.size > this.#keptMax
    if (!isFull && nowMs - this.#sweptAtMs < sweepIntervalMs) return
    this.#sweptAtMs = nowMs
    const sizeMax = this.#keptMax - (isFull ? Math.floor(this.#keptMax * sweptShare) : 0)
    for (const [key, { endedAtMs }] of this.#ended) {
      if (nowMs - endedAtMs <= keptMs && this.#ended.size <= sizeMax) return
      this.#ended.delete(key)
    }
  }
}
