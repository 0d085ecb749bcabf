import { commands, type ReplyOf } from '../../protocol/index.js'
import type { Cluster } from '../cluster.js'
import { type CallOptions, checkCallOptions } from '../options.js'

/** A delayed message. */
export type DelayedMessage = ReplyOf<typeof commands.delayedList>['messages'][number]

/** The delayed messages of the broker: `client.delayed`. */
export class DelayedAdmin {
  readonly #cluster: Cluster

  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  /**
   * Cancels a delayed message; false if it was appended or cancelled before.
   * @throws MillraceError UNKNOWN_TOPIC
   */
  async cancel(topic: string, id: string, options: CallOptions = {}): Promise<boolean> {
    checkCallOptions('client.delayed.cancel', options)
    return (await this.#cluster.call(commands.delayedCancel, { topic, id }, options)).cancelled
  }

  /** Yields the delayed messages of a topic, or of all, by due time. @throws MillraceError UNKNOWN_TOPIC */
  async *list(topic?: string, options: CallOptions = {}): AsyncGenerator<DelayedMessage> {
    checkCallOptions('client.delayed.list', options)
    let cursor: string | undefined
    do {
      const reply: ReplyOf<typeof commands.delayedList> = await this.#cluster.call(
        commands.delayedList,
        { topic, cursor },
        { ...options, repeatable: true },
      )
      yield* reply.messages
      cursor = reply.cursor
    } while (cursor !== undefined)
  }

  /** Counts the delayed messages of a topic, or of all, with the next due time. @throws MillraceError UNKNOWN_TOPIC */
  async count(
    topic?: string,
    options: CallOptions = {},
  ): Promise<{ readonly count: number; readonly nextDueMs: number | undefined }> {
    checkCallOptions('client.delayed.count', options)
    const request = { topic, limit: 1 }
    const { count, nextDueMs } = await this.#cluster.call(commands.delayedList, request, {
      ...options,
      repeatable: true,
    })
    return { count, nextDueMs }
  }
}
