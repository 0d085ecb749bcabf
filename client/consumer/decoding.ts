import type { Delivery, MessageGroup } from './delivery.js'
import { DecodeError, type Message } from './message.js'
import { MessageBatch } from './message_batch.js'
import type { DecodeErrorPolicy } from './options.js'

/**
 * The step between the buffers and the application: decodes ahead if the schema may be asynchronous or if a
 * policy decides about messages that do not decode. Otherwise messages pass unchanged and decode at their first read.
 */
export class DecodingDelivery<Value, Key> {
  readonly #delivery: Delivery<Value, Key>
  readonly #policy: DecodeErrorPolicy
  readonly #ahead: boolean
  /** Skipped messages. */
  skipped = 0

  /** @param ahead whether to decode before delivery, for the decoders of the topics */
  constructor(delivery: Delivery<Value, Key>, policy: DecodeErrorPolicy, ahead: boolean) {
    this.#delivery = delivery
    this.#policy = policy
    this.#ahead = ahead || policy !== 'throw'
  }

  /** The next message, undefined if there is none now. @throws DecodeError, MillraceError CORRUPT */
  next(): Message<Value, Key> | undefined | Promise<Message<Value, Key> | undefined> {
    if (!this.#ahead) return this.#delivery.next()
    for (;;) {
      const message = this.#nextReadable()
      if (message === undefined) return undefined
      const good = this.#check(message)
      if (good === true) return message
      if (good !== false) return good.then((passed) => (passed ? message : this.next()))
    }
  }

  /** The next messages of one partition, at most `countMax`. @throws DecodeError, MillraceError CORRUPT */
  nextBatch(
    countMax: number,
  ): MessageBatch<Value, Key> | undefined | Promise<MessageBatch<Value, Key> | undefined> {
    const group = this.#nextReadableGroup(countMax)
    if (group === undefined) return undefined
    const { run, messages } = group
    if (!this.#ahead) return new MessageBatch(run, messages)
    return this.#checkAll(messages).then((passed) =>
      passed.length > 0 ? new MessageBatch(run, passed) : this.nextBatch(countMax),
    )
  }

  /** The next message behind the batches that cannot be opened, if the policy skips them. */
  #nextReadable(): Message<Value, Key> | undefined {
    for (;;) {
      try {
        return this.#delivery.next()
      } catch (error) {
        this.#leaveOut(error)
      }
    }
  }

  #nextReadableGroup(countMax: number): MessageGroup<Value, Key> | undefined {
    for (;;) {
      try {
        return this.#delivery.nextGroup(countMax)
      } catch (error) {
        this.#leaveOut(error)
      }
    }
  }

  #leaveOut(error: unknown): void {
    this.#allow(error)
    this.skipped += this.#delivery.skipUnreadable()
  }

  async #checkAll(messages: readonly Message<Value, Key>[]): Promise<Message<Value, Key>[]> {
    const passed: Message<Value, Key>[] = []
    for (const message of messages) {
      const good = this.#check(message)
      if (good === true || (good !== false && (await good))) passed.push(message)
    }
    return passed
  }

  /** Whether to deliver a message. */
  #check(message: Message<Value, Key>): boolean | Promise<boolean> {
    try {
      if (this.#policy !== 'throw') void message.key
      const value = message.decode()
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
    this.#allow(error)
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
