/** How long a worker or a member of a group waits for a topic that was deleted to be created again. */
export const topicWaitMs = 3_000
/** Pause between two questions whether a topic is there again. */
export const topicPollMs = 200

/** The wait for a topic that was deleted to be created again. */
export class TopicWait {
  #sinceMs: number | undefined

  /** Whether the topic was missed before. */
  get isWaiting(): boolean {
    return this.#sinceMs !== undefined
  }

  /** Whether the wait has lasted long enough; the first look begins it. */
  get isOver(): boolean {
    this.#sinceMs ??= performance.now()
    return performance.now() - this.#sinceMs >= topicWaitMs
  }

  /** The topic is there. */
  found(): void {
    this.#sinceMs = undefined
  }
}
