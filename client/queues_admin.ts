import { commands, isMillraceError, offsetsOf, type ReplyOf } from '../protocol/index.js'
import { TopicsAdmin } from './admin.js'
import type { Cluster } from './cluster.js'
import { type CallOptions, callOptionNames, checkCallOptions, checkOptions } from './options.js'
import { type PeekedMessage, type PeekOptions, peekQueue } from './queue_peek.js'
import { type QueueOptions, type QueueSettings, queueSettingsInput } from './worker/index.js'

export type QueueDescription = ReplyOf<typeof commands.queueDescribe>
export type QueueSummary = ReplyOf<typeof commands.queueList>['groups'][number]
/** A dead letter of a queue group, with its origin and the reason. */
export type DeadLetter = ReplyOf<typeof commands.queueDeadLetters>['letters'][number]

const lettersPerRequest = 1_000

/** The queue groups of the broker: `client.queues`. */
export class QueuesAdmin {
  readonly #cluster: Cluster
  readonly #topics: TopicsAdmin

  constructor(cluster: Cluster) {
    this.#cluster = cluster
    this.#topics = new TopicsAdmin(cluster)
  }

  async list(options: CallOptions = {}): Promise<readonly QueueSummary[]> {
    checkCallOptions('client.queues.list', options)
    return (await this.#cluster.call(commands.queueList, {}, { ...options, repeatable: true })).groups
  }

  /** Describes a group, with the reasons if its messages do not move. @throws MillraceError UNKNOWN_GROUP */
  async describe(group: string, options: CallOptions = {}): Promise<QueueDescription> {
    checkCallOptions('client.queues.describe', options)
    return this.#cluster.call(commands.queueDescribe, { group }, { ...options, repeatable: true })
  }

  /**
   * Looks at messages of a group that are not done, without leasing them: from one partition after another, by offset. The broker
   * continues to deliver, so a returned message may already be done.
   * @throws MillraceError UNKNOWN_GROUP, BAD_OPTION
   * @example
   * for (const { message, state, attempts } of await client.queues.peek('mailer', { state: 'delayed' }))
   *   console.log(message.offset, state, attempts)
   */
  peek(group: string, options: PeekOptions = {}): Promise<readonly PeekedMessage[]> {
    return peekQueue(this.#cluster, group, options)
  }

  /**
   * Changes settings of a group. Its order and priorities can change only while it has no workers.
   * @throws MillraceError UNKNOWN_GROUP, BAD_CONFIG, GROUP_ACTIVE, BAD_OPTION
   */
  async configure(group: string, settings: QueueOptions, options: CallOptions = {}): Promise<QueueSettings> {
    checkCallOptions('client.queues.configure', options)
    const request = { group, settings: queueSettingsInput(settings) }
    return this.#cluster.call(commands.queueConfigure, request, { ...options, repeatable: true })
  }

  /**
   * Pauses a group until `resume`: workers get no new messages and finish their current ones. @throws MillraceError
   * UNKNOWN_GROUP
   */
  async pause(group: string, options: CallOptions = {}): Promise<void> {
    checkCallOptions('client.queues.pause', options)
    await this.configure(group, { paused: true }, options)
  }

  /** @throws MillraceError UNKNOWN_GROUP */
  async resume(group: string, options: CallOptions = {}): Promise<void> {
    checkCallOptions('client.queues.resume', options)
    await this.configure(group, { paused: false }, options)
  }

  /** Yields the dead letters of a group that were not redriven, oldest first. @throws MillraceError UNKNOWN_GROUP */
  async *deadLetters(group: string, options: CallOptions = {}): AsyncGenerator<DeadLetter> {
    checkCallOptions('client.queues.deadLetters', options)
    for (let fromOffset: number | undefined = 0; fromOffset !== undefined; ) {
      const request = { group, fromOffset, limit: lettersPerRequest }
      const reply: ReplyOf<typeof commands.queueDeadLetters> = await this.#cluster.call(
        commands.queueDeadLetters,
        request,
        { ...options, repeatable: true },
      )
      yield* reply.letters
      fromOffset = reply.nextOffset
    }
  }

  /**
   * Redrives dead letters to their group, each once, with attempts counted from 0. Other groups of the topic do not get
   * them again. The broker skips dead letters without a message, because there is nothing to deliver again: of batches
   * that could not be opened (`reason` is "unreadable"), and of messages that were too large for a dead letter. They
   * stay dead letters.
   * @param which the dead letters to redrive; default all that exist at the start
   * @param onProgress called with the number of redriven messages so far
   * @param onSkipped called with each chosen dead letter that the broker skipped
   * @returns the number of redriven messages
   * @throws MillraceError UNKNOWN_GROUP
   */
  async redrive(
    group: string,
    redriveOptions: CallOptions & {
      readonly which?: ((letter: DeadLetter) => boolean) | undefined
      readonly onProgress?: ((redriven: number) => void) | undefined
      readonly onSkipped?: ((letter: DeadLetter) => void) | undefined
    } = {},
  ): Promise<number> {
    const names = { ...callOptionNames, which: true, onProgress: true, onSkipped: true } as const
    checkOptions('client.queues.redrive', redriveOptions, names)
    const { which = () => true, onProgress, onSkipped, ...options } = redriveOptions
    let redriven = 0
    let letters: DeadLetter[] = []
    // A message that dies again becomes a new dead letter behind it.
    const endOffset = await this.#deadEndOffset(group, options)
    const send = async (): Promise<void> => {
      if (letters.length === 0) return
      const sent = letters
      const request = { group, offsets: sent.flatMap(({ offset }) => [offset, 1]) }
      letters = []
      const reply = await this.#cluster.call(commands.queueRedrive, request, { ...options, repeatable: true })
      redriven += reply.redriven
      onProgress?.(redriven)
      const skipped = new Set(offsetsOf(reply.skipped ?? []))
      for (const letter of sent) if (skipped.has(letter.offset)) onSkipped?.(letter)
    }
    for await (const letter of this.deadLetters(group, options)) {
      if (letter.offset >= endOffset) break
      if (!which(letter)) continue
      letters.push(letter)
      if (letters.length === lettersPerRequest) await send()
    }
    await send()
    return redriven
  }

  /** Returns the offset of the next dead letter of a group. */
  async #deadEndOffset(group: string, options: CallOptions): Promise<number> {
    const { deadLetterTopic } = await this.describe(group, options)
    try {
      const [end = 0] = await this.#topics.offsets(deadLetterTopic, 'latest', options)
      return end
    } catch (error) {
      if (isMillraceError(error, 'UNKNOWN_TOPIC')) return 0
      throw error
    }
  }

  /** Deletes a group without workers; its dead-letter topic stays. @throws MillraceError UNKNOWN_GROUP, GROUP_ACTIVE */
  async delete(group: string, options: CallOptions = {}): Promise<void> {
    checkCallOptions('client.queues.delete', options)
    await this.#cluster.call(commands.queueDelete, { group }, options)
  }
}
