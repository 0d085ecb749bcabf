import { isMillraceError, MillraceError } from '../../protocol/index.js'
import { pause } from '../backoff.js'
import { TopicWait, topicPollMs } from '../topic_wait.js'
import type { BrokerPort } from './broker_port.js'

export interface DeletedTopicsOptions {
  readonly port: Pick<BrokerPort, 'topic'>
  /** A topic is missing; the wait for a new one begins. */
  readonly onMissing: (error: unknown) => void
  /** A topic was deleted and not created again in time. */
  readonly onDeleted: (error: MillraceError) => void
}

/** Detects topics of a stream group that are deleted or created again. */
export class DeletedTopics {
  readonly #options: DeletedTopicsOptions
  readonly #abort = new AbortController()
  /** Topics with a running check, and whether a topic may have been deleted again since the check began. */
  readonly #checking = new Map<string, boolean>()
  /** First assigned id of each topic, by name. */
  readonly #firstIds = new Map<string, number>()
  readonly #deleted = new Set<string>()

  constructor(options: DeletedTopicsOptions) {
    this.#options = options
  }

  /** Whether the topic from the start of the consumer was deleted. */
  has(topic: string): boolean {
    return this.#deleted.has(topic)
  }

  /** A partition of this topic was assigned. */
  assigned(topic: string, topicId: number): void {
    const firstId = this.#firstIds.get(topic)
    if (firstId === undefined) this.#firstIds.set(topic, topicId)
    else if (firstId !== topicId) this.#deleted.add(topic)
  }

  /** Checks whether a topic exists; a missing topic may be created again within a time limit. */
  check(topic: string, goneId?: number): void {
    if (goneId !== undefined) this.#deleted.add(topic)
    if (this.#abort.signal.aborted) return
    const isWatched = this.#checking.has(topic)
    this.#checking.set(topic, true)
    if (!isWatched) void this.#watch(topic).finally(() => this.#checking.delete(topic))
  }

  close(): void {
    this.#abort.abort(new MillraceError('CLOSED', 'the consumer was closed'))
  }

  /** Never rejects. */
  async #watch(topic: string): Promise<void> {
    const { port, onMissing, onDeleted } = this.#options
    const { signal } = this.#abort
    const wait = new TopicWait()
    while (this.#checking.get(topic) && !signal.aborted) {
      this.#checking.set(topic, false)
      try {
        await port.topic(topic, { fresh: true, signal })
        wait.found()
        continue
      } catch (cause) {
        this.#checking.set(topic, true)
        if (signal.aborted || !isMillraceError(cause)) return
        if (cause.code === 'UNKNOWN_TOPIC') {
          this.#deleted.add(topic)
          const isFirst = !wait.isWaiting
          if (wait.isOver) {
            onDeleted(new MillraceError('UNKNOWN_TOPIC', `topic "${topic}" was deleted`, { cause }))
            return
          }
          if (isFirst) onMissing(cause)
        } else if (!cause.retryable) return
      }
      await pause(topicPollMs, signal)
    }
  }
}
