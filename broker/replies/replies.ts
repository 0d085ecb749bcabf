import { bytesText, MillraceError } from '../../protocol/index.js'
import { coarseWaitMs } from '../coarse_wait.js'

/** A reply on its way to the requester. */
export interface ReplyToRequest {
  readonly requestId: string
  readonly value: Uint8Array
  /** The reason for a missing value. */
  readonly error: string | undefined
}

interface Mailbox {
  replies: ReplyToRequest[]
  bytes: number
  /** Ends the waiting poll. */
  wake: (() => void) | undefined
  /** Coarse monotonic time of the oldest pending reply; 0 if there is none. */
  sinceMs: number
}

/** The broker keeps replies for an absent requester this long: it may be reconnecting. */
const keptMsMax = 10_000
const keptBytesMax = 64 * 1024 * 1024
const mailboxesMax = 100_000
/** One answer to a poll. */
const replyBytesMax = 4 * 1024 * 1024
const repliesMax = 10_000
const overheadBytes = 200
const sweepIntervalMs = 1_000

/** Replies to requests: they pass through memory, from the connection of the responder to that of the requester. */
export class Replies {
  readonly #mailboxes = new Map<string, Mailbox>()
  readonly #timer: NodeJS.Timeout
  #bytes = 0
  #isDrained = false

  constructor() {
    this.#timer = setInterval(() => this.#sweep(performance.now()), sweepIntervalMs).unref()
  }

  /** Pending replies. */
  get bytes(): number {
    return this.#bytes
  }

  /** @throws MillraceError OVERLOADED */
  send(to: string, reply: ReplyToRequest): void {
    const bytes = reply.value.length + overheadBytes
    if (this.#bytes + bytes > keptBytesMax)
      throw new MillraceError(
        'OVERLOADED',
        `the broker holds ${bytesText(this.#bytes)} of replies that clients have not read, which is the maximum`,
      )
    const mailbox = this.#mailbox(to)
    mailbox.replies.push(reply)
    mailbox.bytes += bytes
    this.#bytes += bytes
    if (mailbox.sinceMs === 0) mailbox.sinceMs = performance.now()
    mailbox.wake?.()
  }

  /**
   * Waits for replies; empty if none came in time, or if another poll took its place.
   * @param onClose calls back when the connection of the requester has ended; returns a function that unsubscribes
   * @throws MillraceError OVERLOADED
   */
  async poll(
    address: string,
    waitMs: number,
    onClose: (callback: () => void) => () => void,
  ): Promise<readonly ReplyToRequest[]> {
    const mailbox = this.#mailbox(address)
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
    return isOpen && mailbox.wake === undefined ? this.#take(address, mailbox) : []
  }

  /** Answers all polls. */
  drain(): void {
    this.#isDrained = true
    clearInterval(this.#timer)
    for (const mailbox of this.#mailboxes.values()) mailbox.wake?.()
  }

  #mailbox(address: string): Mailbox {
    let mailbox = this.#mailboxes.get(address)
    if (mailbox === undefined) {
      if (this.#mailboxes.size >= mailboxesMax)
        throw new MillraceError(
          'OVERLOADED',
          `${mailboxesMax} clients wait for replies, which is the maximum`,
        )
      mailbox = { replies: [], bytes: 0, wake: undefined, sinceMs: 0 }
      this.#mailboxes.set(address, mailbox)
    }
    return mailbox
  }

  #take(address: string, mailbox: Mailbox): readonly ReplyToRequest[] {
    const taken: ReplyToRequest[] = []
    let bytes = 0
    for (const reply of mailbox.replies) {
      if (taken.length > 0 && (bytes + reply.value.length > replyBytesMax || taken.length >= repliesMax))
        break
      bytes += reply.value.length
      taken.push(reply)
    }
    mailbox.replies = mailbox.replies.slice(taken.length)
    this.#freed(mailbox, bytes + taken.length * overheadBytes)
    mailbox.sinceMs = mailbox.replies.length === 0 ? 0 : performance.now()
    if (mailbox.replies.length === 0 && mailbox.wake === undefined) this.#mailboxes.delete(address)
    return taken
  }

  #freed(mailbox: Mailbox, bytes: number): void {
    mailbox.bytes -= bytes
    this.#bytes -= bytes
  }

  /** Drops expired replies. */
  #sweep(nowMs: number): void {
    for (const [address, mailbox] of this.#mailboxes) {
      if (mailbox.wake !== undefined) continue
      if (mailbox.sinceMs !== 0 && nowMs - mailbox.sinceMs < keptMsMax) continue
      this.#freed(mailbox, mailbox.bytes)
      this.#mailboxes.delete(address)
    }
  }
}
