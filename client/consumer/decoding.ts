import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Delivery, MessageGroup } from './delivery.js'
import { DecodeError, type Message } from './message.js'
import { MessageBatch } from './message_batch.js'
import type { DecodeErrorPolicy } from './options.js'

/** Time of one turn of the event loop that may go to skipping messages. */
const sliceMs = 10

/** The result of a step for messages that the policy skipped. */
const skipped = Symbol('skipped')
type Skipped = typeof skipped

/**
 * The step between the buffers and the application: decodes ahead if the schema may be asynchronous or if a
 * policy decides about messages that do not decode. Otherwise messages pass unchanged and decode at their first read.
 *
 * A batch may have a million messages that do not decode. Skipping them is work without a message for the
 * application, so it goes in slices of time: sockets, timers and `close` have their turns in between.
 */
export class DecodingDelivery<Value, Key> {
  readonly #delivery: Delivery<Value, Key>
  readonly #policy: DecodeErrorPolicy
  readonly #ahead: boolean
  readonly #isClosing: () => boolean
  #sliceEndMs = 0
  /** Skipped messages. */
  skipped = 0

  /**
   * @param ahead whether to decode before delivery, for the decoders of the topics
   * @param isClosing whether the consumer ends, so that nothing more is delivered
   */
  constructor(
    delivery: Delivery<Value, Key>,
    policy: DecodeErrorPolicy,
    ahead: boolean,
    isClosing: () => boolean,
  ) {
    this.#delivery = delivery
    this.#policy = policy
    this.#ahead = ahead || policy !== 'throw'
    this.#isClosing = isClosing
  }

  /** The next message, undefined if there is none now. @throws DecodeError, MillraceError CORRUPT */
  next(): Message<Value, Key> | undefined | Promise<Message<Value, Key> | undefined> {
    if (!this.#ahead) return this.#delivery.next()
    const one = this.#nextOrSkip()
    return one === skipped || one instanceof Promise ? this.#later(one, () => this.#nextOrSkip()) : one
  }

  /** The next messages of one partition, at most `countMax`. @throws DecodeError, MillraceError CORRUPT */
  nextBatch(
    countMax: number,
  ): MessageBatch<Value, Key> | undefined | Promise<MessageBatch<Value, Key> | undefined> {
    const one = this.#nextBatchOrSkip(countMax)
    return one === skipped || one instanceof Promise
      ? this.#later(one, () => this.#nextBatchOrSkip(countMax))
      : one
  }

  /** Repeats a step that skipped messages; other work of the process has its turn after each slice of time. */
  async #later<One>(
    first: Skipped | Promise<One | Skipped>,
    step: () => One | undefined | Skipped | Promise<One | Skipped>,
  ): Promise<One | undefined> {
    let one: One | undefined | Skipped = await first
    while (one === skipped) {
      if (this.#isSliceOver) await this.#endSlice()
      if (this.#isClosing()) return undefined
      const next = step()
      one = next instanceof Promise ? await next : next
    }
    return one
  }

  #nextOrSkip(): Message<Value, Key> | undefined | Skipped | Promise<Message<Value, Key> | Skipped> {
    let message: Message<Value, Key> | undefined
    try {
      message = this.#delivery.next()
    } catch (error) {
      return this.#leaveOut(error)
    }
    if (message === undefined) return undefined
    const good = this.#check(message)
    if (typeof good === 'boolean') return good ? message : skipped
    return good.then((passed) => (passed && message.run.isCurrent ? message : skipped))
  }

  #nextBatchOrSkip(
    countMax: number,
  ): MessageBatch<Value, Key> | undefined | Skipped | Promise<MessageBatch<Value, Key> | Skipped> {
    let group: MessageGroup<Value, Key> | undefined
    try {
      group = this.#delivery.nextGroup(countMax)
    } catch (error) {
      return this.#leaveOut(error)
    }
    if (group === undefined) return undefined
    return this.#ahead ? this.#checkAll(group) : new MessageBatch(group.run, group.messages)
  }

  /** Skips the messages of a batch that can't be opened, if the policy allows that. */
  #leaveOut(error: unknown): Skipped {
    this.#allow(error)
    this.skipped += this.#delivery.skipUnreadable()
    return skipped
  }

  async #checkAll({ run, messages }: MessageGroup<Value, Key>): Promise<MessageBatch<Value, Key> | Skipped> {
    const passed: Message<Value, Key>[] = []
    for (const message of messages) {
      const good = this.#check(message)
      if (good === true || (good !== false && (await good))) passed.push(message)
      else if (this.#isSliceOver) {
        await this.#endSlice()
        if (this.#isClosing()) return skipped
      }
    }
    return passed.length > 0 && run.isCurrent ? new MessageBatch(run, passed) : skipped
  }

  get #isSliceOver(): boolean {
    return performance.now() >= this.#sliceEndMs
  }

  async #endSlice(): Promise<void> {
    await nextTurn()
    this.#sliceEndMs = performance.now() + sliceMs
  }

  /** Whether to deliver a message. */
  #check(message: Message<Value, Key>): boolean | Promise<boolean> {
    try {
      // "skip" drops the error, so it needs no DecodeError: the stack of an error costs more than the decoding.
      const wrapped = this.#policy !== 'skip'
      if (this.#policy !== 'throw') message.checkKey(wrapped)
      const value = message.decode(wrapped)
      if (!(value instanceof Promise)) return true
      return value.then(
        () => true,
        (error: unknown) => this.#judge(error, message),
      )
    } catch (error) {
      return this.#judge(error, message)
    }
  }

  #judge(error: unknown, message: Message<Value, Key>): false {
    if (this.#policy !== 'skip') this.#allow(error)
    message.ack()
    this.skipped++
    return false
  }

  /** Returns if the policy skips the messages of the error, and throws the error otherwise. */
  #allow(error: unknown): void {
    if (!(error instanceof DecodeError) || this.#policy === 'throw') throw error
    if (this.#policy !== 'skip' && this.#policy(error, error.raw) !== 'skip') throw error
  }
}
