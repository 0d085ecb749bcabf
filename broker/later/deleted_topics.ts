import { delayedKey } from './delayed_codec.js'
import type { Later } from './later.js'

/** Limits of one step: entries to look at, and the bytes of them that it aims at. */
const entriesMax = 4_000
const bytesWanted = 1024 * 1024
const entriesAtFirst = 64

/** A walk over all delayed messages, by due time. */
interface Walk {
  readonly topicIds: ReadonlySet<number>
  from: Uint8Array
  limit: number
}

/**
 * Removes the delayed messages of deleted topics in small steps. The state has an index by topic only for messages with
 * ids; it finds the others with a walk over the delayed messages of all topics, one walk for all topics that are deleted
 * at its start. No message of a deleted topic can be added, so a walk is complete.
 */
export class DeletedTopics {
  readonly #later: Later
  /** Topics without messages with ids, and topics without any messages. */
  readonly #withoutIds = new Set<number>()
  readonly #done = new Set<number>()
  #walk: Walk | undefined

  constructor(later: Later) {
    this.#later = later
  }

  /**
   * Does one step. Returns whether there may be more to do.
   * @throws MillraceError STORAGE_FAILED; the next call repeats the step
   */
  async sweep(): Promise<boolean> {
    const { delayed, delayedFiring, shard } = this.#later
    for (const topicId of delayed.topicIds) {
      if (this.#withoutIds.has(topicId) || shard.catalog.byId(topicId) !== undefined) continue
      if (await delayedFiring.sweepIds(topicId)) return true
      this.#withoutIds.add(topicId)
    }
    this.#walk ??= this.#newWalk()
    if (this.#walk === undefined) return false
    await this.#step(this.#walk)
    return true
  }

  #newWalk(): Walk | undefined {
    const { delayed, shard } = this.#later
    const topicIds = new Set<number>()
    for (const topicId of delayed.topicIds)
      if (!this.#done.has(topicId) && shard.catalog.byId(topicId) === undefined) topicIds.add(topicId)
    return topicIds.size === 0 ? undefined : { topicIds, from: delayedKey(0, 0), limit: entriesAtFirst }
  }

  async #step(walk: Walk): Promise<void> {
    const { from, limit, topicIds } = walk
    const { bytes, next } = await this.#later.delayedFiring.sweepRange(from, limit, topicIds)
    if (next === undefined) {
      // A damaged journal may leave a count without a message: a second walk would find nothing either.
      for (const topicId of topicIds) this.#done.add(topicId)
      this.#walk = undefined
      return
    }
    walk.from = next
    const fitting = Math.floor((limit * bytesWanted) / Math.max(bytes, 1))
    walk.limit = Math.max(1, Math.min(entriesMax, limit * 2, fitting))
  }
}
