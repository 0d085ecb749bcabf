import { CommittedOffsets, type OffsetsPage } from './committed_offsets.js'
import { decodeGroupDeleted, decodeOffsetsCommitted } from './ops.js'

/** Storage of the view's pages; changes become durable with the next checkpoint. */
export interface OffsetsState {
  put(key: Uint8Array, value: Uint8Array): void
  del(key: Uint8Array): void
}

/**
 * The view of committed offsets. Its keys in the state database, which are on disk, are
 * `PREFIX/group/topicId/page` in ASCII (names of groups have no slash); a value is a msgpack list of
 * [partition, offset, committedAtMs, metadata].
 */
export class OffsetsView {
  readonly offsets = new CommittedOffsets()
  readonly #state: OffsetsState
  readonly #prefix: string

  /** @param prefix beginning of the keys of this view */
  constructor(state: OffsetsState, prefix: string) {
    this.#state = state
    this.#prefix = prefix
  }

  /** Loads one stored page. */
  load(key: Uint8Array, value: Uint8Array): void {
    const text = Buffer.from(key).toString('latin1', this.#prefix.length + 1)
    const [group = '', topicId, page] = text.split('/')
    this.offsets.loadPage({ group, topicId: Number(topicId), page: Number(page) }, value)
  }

  /** Applies an `offsets.committed` operation; drops entries of deleted topics. */
  applyCommitted(payload: Uint8Array, topicExists: (topicId: number) => boolean): void {
    const { group, committedAtMs, entries } = decodeOffsetsCommitted(payload)
    const kept = entries.filter(([topicId]) => topicExists(topicId))
    if (kept.length === 0) return
    for (const page of this.offsets.set(group, committedAtMs, kept)) {
      this.#state.put(this.#key(page), this.offsets.encodePage(page))
    }
  }

  /** Applies a `group.deleted` operation. */
  applyDeleted(payload: Uint8Array): void {
    this.#drop(this.offsets.deleteGroup(decodeGroupDeleted(payload)))
  }

  /** Call it when the operation that deletes a topic is applied. */
  topicDeleted(topicId: number): void {
    this.#drop(this.offsets.deleteTopic(topicId))
  }

  #drop(pages: readonly OffsetsPage[]): void {
    for (const page of pages) this.#state.del(this.#key(page))
  }

  #key({ group, topicId, page }: OffsetsPage): Uint8Array {
    return Buffer.from(`${this.#prefix}/${group}/${topicId}/${page}`, 'latin1')
  }
}
