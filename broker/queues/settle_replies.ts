import type { commands, ReplyOf } from '../../protocol/index.js'

type SettleReply = ReplyOf<typeof commands.queueSettle>

interface Replies {
  usedAtMs: number
  readonly byNumber: Map<number, Promise<SettleReply>>
}

/** More than a worker has on the way at a time. */
const repliesMax = 16
const workersMax = 10_000
const keptMsMax = 120_000

/**
 * The last answers to the settlements of each worker, so that a repeat after a lost reply gets the one that was lost: what
 * the first one has settled would be refused. In memory alone.
 */
export class SettleReplies {
  readonly #nowMs: () => number
  readonly #byWorker = new Map<string, Replies>()

  /** @param nowMs monotonic */
  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs
  }

  get workers(): number {
    return this.#byWorker.size
  }

  /**
   * The answer to a request that has this number among those of its worker: one that is known, or on its way, or a new one.
   * @throws what `settle` throws; the next one with this number tries again
   */
  answer(worker: string, number: number, settle: () => Promise<SettleReply>): Promise<SettleReply> {
    const { byNumber } = this.#of(worker)
    const known = byNumber.get(number)
    if (known !== undefined) return known
    const reply = settle()
    byNumber.set(number, reply)
    reply.catch(() => void (byNumber.get(number) === reply && byNumber.delete(number)))
    const [oldest] = byNumber.keys()
    if (byNumber.size > repliesMax && oldest !== undefined) byNumber.delete(oldest)
    return reply
  }

  /** Workers stand in the order of their last request. */
  #of(worker: string): Replies {
    const nowMs = this.#nowMs()
    const replies = this.#byWorker.get(worker) ?? { usedAtMs: nowMs, byNumber: new Map() }
    replies.usedAtMs = nowMs
    this.#byWorker.delete(worker)
    this.#byWorker.set(worker, replies)
    for (const [other, { usedAtMs }] of this.#byWorker) {
      if (this.#byWorker.size <= workersMax && nowMs - usedAtMs <= keptMsMax) break
      this.#byWorker.delete(other)
    }
    return replies
  }
}
