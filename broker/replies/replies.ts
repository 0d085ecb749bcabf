import { randomInt } from 'node:crypto'
import { bytesText, MillraceError } from '../../protocol/index.js'
import { coarseWaitMs } from '../coarse_wait.js'

/** A reply on its way to the requester. */
export interface ReplyToRequest {
  readonly requestId: string
  readonly value: Uint8Array
  /** The reason for a missing value. */
  readonly error: string | undefined
}

/** The answer to a poll. */
export interface PolledReplies {
  readonly replies: readonly ReplyToRequest[]
  /** Number of the last reply, which the next poll acknowledges; none if there are no replies, or the poll acknowledges none. */
  readonly number: number | undefined
}

interface StoredReply extends ReplyToRequest {
  readonly number: number
  /** Size in an answer. */
  readonly bytes: number
}

interface Mailbox {
  /** In the order of their numbers. */
  replies: StoredReply[]
  /** So many of the first replies were in an answer, and the requester has not acknowledged them. */
  sentCount: number
  /** Ends the waiting poll. */
  wake: (() => void) | undefined
  /** Monotonic time of the oldest pending reply, or of the last poll after it; 0 if there is none. */
  sinceMs: number
}

const noReplies: PolledReplies = { replies: [], number: undefined }
/** Numbers start at random, so that an acknowledgement from before a restart of the broker matches no reply. */
const firstNumberMax = 2 ** 47

/** The broker keeps replies for an absent requester this long: it may be reconnecting. */
const keptMsMax = 10_000
const keptBytesMax = 64 * 1024 * 1024
const mailboxesMax = 100_000
/** One answer to a poll, if it has more than one reply. */
const answerBytesMax = 4 * 1024 * 1024
/** Header, keys and number of an answer, at most. */
const answerOverheadBytes = 64
/** A reply in the body of an answer beside its texts, at most. */
const entryOverheadBytes = 16
const repliesMax = 10_000
const overheadBytes = 200
const sweepIntervalMs = 1_000

/** Replies to requests: they pass through memory, from the connection of the responder to that of the requester. */
export class Replies {
  readonly #mailboxes = new Map<string, Mailbox>()
  /** Mailboxes with sent replies that are not acknowledged; the one that was sent first comes first. */
  readonly #unacknowledged = new Map<string, Mailbox>()
  readonly #timer: NodeJS.Timeout
  #number = randomInt(firstNumberMax)
  #bytes = 0
  #isDrained = false

  readonly #frameBytesMax: number

  /** @param frameBytesMax the clients accept no larger answers */
  constructor({ frameBytesMax }: { readonly frameBytesMax: number }) {
    this.#frameBytesMax = frameBytesMax
    this.#timer = setInterval(() => this.sweep(performance.now()), sweepIntervalMs).unref()
  }

  /** Pending and unacknowledged replies. */
  get bytes(): number {
    return this.#bytes
  }

  /** @throws MillraceError LIMIT_EXCEEDED, OVERLOADED */
  send(to: string, reply: ReplyToRequest): void {
    const { requestId, value, error = '' } = reply
    const bodyBytes = Buffer.byteLength(requestId) + Buffer.byteLength(error) + entryOverheadBytes
    const valueBytesMax = this.#frameBytesMax - answerOverheadBytes - bodyBytes
    if (value.length > valueBytesMax)
      throw new MillraceError(
        'LIMIT_EXCEEDED',
        `the value of a reply has ${bytesText(value.length)}, the broker accepts at most ${bytesText(valueBytesMax)}`,
      )
    const bytes = bodyBytes + value.length
    const isFull = (): boolean => this.#bytes + bytes + overheadBytes > keptBytesMax
    if (isFull()) this.#forgetSentWhile(isFull)
    if (isFull())
      throw new MillraceError(
        'OVERLOADED',
        `the broker holds ${bytesText(this.#bytes)} of replies that clients have not read, which is the maximum`,
      )
    const mailbox = this.#mailbox(to)
    mailbox.replies.push({ ...reply, bytes, number: ++this.#number })
    this.#bytes += bytes + overheadBytes
    if (mailbox.sinceMs === 0) mailbox.sinceMs = performance.now()
    mailbox.wake?.()
  }

  /**
   * Waits for replies; empty if none came in time, or if another poll took its place. Replies that were sent before and
   * are not acknowledged come again, before the others.
   * @param received the number of the last answer that the requester received, 0 if none; undefined if it acknowledges
   * no replies: the broker then keeps none that it has sent
   * @param onClose calls back when the connection of the requester has ended; returns a function that unsubscribes
   * @throws MillraceError OVERLOADED
   */
  async poll(
    address: string,
    waitMs: number,
    received: number | undefined,
    onClose: (callback: () => void) => () => void,
  ): Promise<PolledReplies> {
    const mailbox = this.#mailbox(address)
    if (received !== undefined) this.#acknowledge(address, mailbox, received)
    mailbox.wake?.()
    let isOpen = true
    if (mailbox.replies.length === 0 && waitMs > 0 && !this.#isDrained) {
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          clearTimeout(timer)
          unsubscribe()
          if (mailbox.wake === wake) mailbox.wake = undefined
          resolve()
        }
        const timer = setTimeout(wake, coarseWaitMs(waitMs))
        const unsubscribe = onClose(() => {
          isOpen = false
          wake()
        })
        mailbox.wake = wake
      })
    }
    // Replies of a poll that was replaced, or whose connection has ended, go to the next one.
    if (!isOpen || mailbox.wake !== undefined) return noReplies
    const replies = this.#next(mailbox)
    if (received === undefined) this.#remove(address, mailbox, replies.length)
    else if (replies.length > 0) this.#markSent(address, mailbox, replies.length)
    if (mailbox.replies.length > 0) mailbox.sinceMs = performance.now()
    this.#deleteIfUnused(address, mailbox)
    return { replies, number: received === undefined ? undefined : replies.at(-1)?.number }
  }

  /** Answers all polls. */
  drain(): void {
    this.#isDrained = true
    clearInterval(this.#timer)
    for (const mailbox of this.#mailboxes.values()) mailbox.wake?.()
  }

  /** Drops the replies that have expired at this monotonic time; a timer calls it. */
  sweep(nowMs: number): void {
    for (const [address, mailbox] of this.#mailboxes) {
      if (mailbox.wake !== undefined) continue
      if (mailbox.sinceMs !== 0 && nowMs - mailbox.sinceMs < keptMsMax) continue
      this.#remove(address, mailbox, mailbox.replies.length)
      this.#mailboxes.delete(address)
    }
  }

  #mailbox(address: string): Mailbox {
    let mailbox = this.#mailboxes.get(address)
    if (mailbox === undefined) {
      this.#forgetSentWhile(() => this.#mailboxes.size >= mailboxesMax)
      if (this.#mailboxes.size >= mailboxesMax)
        throw new MillraceError(
          'OVERLOADED',
          `${mailboxesMax} clients wait for replies, which is the maximum`,
        )
      mailbox = { replies: [], sentCount: 0, wake: undefined, sinceMs: 0 }
      this.#mailboxes.set(address, mailbox)
    }
    return mailbox
  }

  /** The replies of the next answer. */
  #next(mailbox: Mailbox): readonly StoredReply[] {
    const next: StoredReply[] = []
    const bytesMax = Math.min(answerBytesMax, this.#frameBytesMax)
    let bytes = answerOverheadBytes
    for (const reply of mailbox.replies) {
      if (next.length > 0 && (bytes + reply.bytes > bytesMax || next.length >= repliesMax)) break
      bytes += reply.bytes
      next.push(reply)
    }
    return next
  }

  /** Keeps the first `count` replies until the requester acknowledges them: their connection can end before they arrive. */
  #markSent(address: string, mailbox: Mailbox, count: number): void {
    mailbox.sentCount = Math.max(mailbox.sentCount, count)
    this.#unacknowledged.delete(address)
    this.#unacknowledged.set(address, mailbox)
  }

  /** Removes the sent replies up to the number. Any other number, for example of another broker, removes none. */
  #acknowledge(address: string, mailbox: Mailbox, received: number): void {
    let count = mailbox.sentCount
    while (count > 0 && mailbox.replies[count - 1]?.number !== received) count--
    if (count > 0) this.#remove(address, mailbox, count)
  }

  /** Removes the first `count` replies. */
  #remove(address: string, mailbox: Mailbox, count: number): void {
    for (const { bytes } of mailbox.replies.slice(0, count)) this.#bytes -= bytes + overheadBytes
    mailbox.replies = mailbox.replies.slice(count)
    mailbox.sentCount = Math.max(0, mailbox.sentCount - count)
    if (mailbox.sentCount === 0) this.#unacknowledged.delete(address)
    if (mailbox.replies.length === 0) mailbox.sinceMs = 0
  }

  /** Makes room: most requesters have received the replies that were sent, so they go before others are refused. */
  #forgetSentWhile(isFull: () => boolean): void {
    for (const [address, mailbox] of this.#unacknowledged) {
      if (!isFull()) return
      this.#remove(address, mailbox, mailbox.sentCount)
      this.#deleteIfUnused(address, mailbox)
    }
  }

  #deleteIfUnused(address: string, mailbox: Mailbox): void {
    if (mailbox.replies.length > 0 || mailbox.wake !== undefined) return
    // After the poll that replaced this one, the address can have a new mailbox.
    if (this.#mailboxes.get(address) === mailbox) this.#mailboxes.delete(address)
  }
}
