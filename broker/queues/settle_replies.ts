import type { commands, ReplyOf } from '../../protocol/index.js'

type SettleReply = ReplyOf<typeof commands.queueSettle>

interface Remembered {
  readonly reply: Promise<SettleReply>
  /** Number of messages in the reply; 0 until it arrives. */
  refused: number
}

interface Replies {
  usedAtMs: number
  readonly byNumber: Map<number, Remembered>
}

/** More requests than a worker has in flight at a time. */
const repliesMax = 16
const workersMax = 10_000
const keptMsMax = 120_000
/** Limit of the refused messages in all replies together: one reply may name 100,000. */
const refusedMax = 1_000_000

/**
 * The last replies to the settlements of each worker. A retry after a lost reply gets the same reply: otherwise it
 * would be refused, because the first request has settled its messages. In memory only.
 */
export class SettleReplies {
  readonly #nowMs: () => number
  readonly #byWorker = new Map<string, Replies>()

  /** Number of refused messages in the replies. */
  #refused = 0

  /** @param nowMs monotonic */
  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs
  }

  get refused(): number {
    return this.#refused
  }

  get workers(): number {
    return this.#byWorker.size
  }

  /**
   * Returns the reply to the request with this number of a worker: a stored one, one in progress, or a new one.
   * @throws the errors of `settle`; the next request with this number tries again
   */
  answer(worker: string, number: number, settle: () => Promise<SettleReply>): Promise<SettleReply> {
    const { byNumber } = this.#of(worker)
    const known = byNumber.get(number)
    if (known !== undefined) return known.reply
    const reply = settle()
    const remembered: Remembered = { reply, refused: 0 }
    byNumber.set(number, remembered)
    reply.then(
      ({ refused }) => {
        // Count it only if it is still stored: it may have been removed to make room.
        if (this.#byWorker.get(worker)?.byNumber.get(number) !== remembered) return
        remembered.refused = refused.length
        this.#refused += refused.length
        this.#makeRoom()
      },
      () => void (byNumber.get(number) === remembered && byNumber.delete(number)),
    )
    const [oldest] = byNumber
    if (byNumber.size > repliesMax && oldest !== undefined) {
      byNumber.delete(oldest[0])
      this.#refused -= oldest[1].refused
    }
    return reply
  }

  #makeRoom(): void {
    for (const worker of this.#byWorker.keys()) {
      if (this.#refused <= refusedMax) return
      this.#forget(worker)
    }
  }

  #forget(worker: string): void {
    for (const { refused } of this.#byWorker.get(worker)?.byNumber.values() ?? []) this.#refused -= refused
    this.#byWorker.delete(worker)
  }

  /** Workers are in the order of their last request. */
  #of(worker: string): Replies {
    const nowMs = this.#nowMs()
    const replies = this.#byWorker.get(worker) ?? { usedAtMs: nowMs, byNumber: new Map() }
    replies.usedAtMs = nowMs
    this.#byWorker.delete(worker)
    this.#byWorker.set(worker, replies)
    for (const [other, { usedAtMs }] of this.#byWorker) {
      if (this.#byWorker.size <= workersMax && nowMs - usedAtMs <= keptMsMax) break
      this.#forget(other)
    }
    return replies
  }
}
