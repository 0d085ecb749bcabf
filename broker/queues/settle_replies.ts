import type { commands, ReplyOf } from '../../protocol/index.js'

type SettleReply = ReplyOf<typeof commands.queueSettle>

interface Remembered {
  readonly reply: Promise<SettleReply>
  /** Messages that it names; 0 before it is there. */
  refused: number
}

interface Replies {
  usedAtMs: number
  readonly byNumber: Map<number, Remembered>
}

/** More than a worker has on the way at a time. */
const repliesMax = 16
const workersMax = 10_000
const keptMsMax = 120_000
/** Refused messages that all answers name together, at most: one answer may name 100,000. */
const refusedMax = 1_000_000

/**
 * The last answers to the settlements of each worker, so that a repeat after a lost reply gets the one that was lost: what
 * the first one has settled would be refused. In memory alone.
 */
export class SettleReplies {
  readonly #nowMs: () => number
  readonly #byWorker = new Map<string, Replies>()

  /** Refused messages that the answers name. */
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
   * The answer to a request that has this number among those of its worker: one that is known, or on its way, or a new one.
   * @throws what `settle` throws; the next one with this number tries again
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
        // Only what is still there counts: it may have made room for others meanwhile.
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

  /** Workers stand in the order of their last request. */
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
