import { commands, isMillraceError, type ReplyOf } from '../protocol/index.js'
import { TopicsAdmin } from './admin.js'
import type { Cluster } from './cluster.js'
import { type CallOptions, callOptionNames, checkCallOptions, checkOptions } from './options.js'
import { type QueueOptions, type QueueSettings, queueSettingsInput } from './worker/index.js'

export type QueueDescription = ReplyOf<typeof commands.queueDescribe>
export type QueueSummary = ReplyOf<typeof commands.queueList>['groups'][number]
/** A message that a queue group gave up, with where it came from and why. */
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

  /** How a group stands, with the reasons when it stands still. @throws MillraceError UNKNOWN_GROUP */
  async describe(group: string, options: CallOptions = {}): Promise<QueueDescription> {
    checkCallOptions('client.queues.describe', options)
    return this.#cluster.call(commands.queueDescribe, { group }, { ...options, repeatable: true })
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

  /** Nothing is handed out until `resume`; what is leased goes on. @throws MillraceError UNKNOWN_GROUP */
  async pause(group: string, options: CallOptions = {}): Promise<void> {
    checkCallOptions('client.queues.pause', options)
    await this.configure(group, { paused: true }, options)
  }

  /** @throws MillraceError UNKNOWN_GROUP */
  async resume(group: string, options: CallOptions = {}): Promise<void> {
    checkCallOptions('client.queues.resume', options)
    await this.configure(group, { paused: false }, options)
  }

  /** The dead letters of a group that were not redriven, oldest first. @throws MillraceError UNKNOWN_GROUP */
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
   * Gives dead letters back to their group, each once, with attempts counted from 0. Other groups of the topic don't see
   * them again.
   * @param which those to give back; default all that there are when it begins
   * @param onProgress told how many were given back so far
   * @returns how many were given back
   * @throws MillraceError UNKNOWN_GROUP
   */
  async redrive(
    group: string,
    redriveOptions: CallOptions & {
      readonly which?: ((letter: DeadLetter) => boolean) | undefined
      readonly onProgress?: ((redriven: number) => void) | undefined
    } = {},
  ): Promise<number> {
    const names = { ...callOptionNames, which: true, onProgress: true } as const
    checkOptions('client.queues.redrive', redriveOptions, names)
    const { which = () => true, onProgress, ...options } = redriveOptions
    let redriven = 0
    let offsets: number[] = []
    // One that dies again comes behind it, and is another dead letter.
    const endOffset = await this.#deadEndOffset(group, options)
    const send = async (): Promise<void> => {
      if (offsets.length === 0) return
      const request = { group, offsets: offsets.flatMap((offset) => [offset, 1]) }
      offsets = []
      const reply = await this.#cluster.call(commands.queueRedrive, request, { ...options, repeatable: true })
      redriven += reply.redriven
      onProgress?.(redriven)
    }
    for await (const letter of this.deadLetters(group, options)) {
      if (letter.offset >= endOffset) break
      if (!which(letter)) continue
      offsets.push(letter.offset)
      if (offsets.length === lettersPerRequest) await send()
    }
    await send()
    return redriven
  }

  /** The offset that the next dead letter of a group will have. */
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

  /** Forgets a group, which must have no workers; its dead-letter topic stays. @throws MillraceError UNKNOWN_GROUP, GROUP_ACTIVE */
  async delete(group: string, options: CallOptions = {}): Promise<void> {
    checkCallOptions('client.queues.delete', options)
    await this.#cluster.call(commands.queueDelete, { group }, options)
  }
}
