import { opKinds } from '../../storage/index.js'
import { tableEntries, viewTables } from '../state_keys.js'
import type { View, ViewHost } from '../view.js'
import { CommittedOffsets, type OffsetsPage } from './committed_offsets.js'
import { decodeGroupDeleted, decodeOffsetsCommitted } from './ops.js'

/**
 * The view that folds the offsets that groups committed. Its keys in the state database, which stand on disk, are the
 * table's byte and then `/GROUP/TOPIC_ID/PAGE` in ASCII (names of groups have no slash); a value is a msgpack list of
 * [partition, offset, committedAtMs, metadata].
 */
export class OffsetsView implements View {
  readonly kinds: readonly number[] = [opKinds.offsetsCommitted, opKinds.groupDeleted]
  readonly offsets = new CommittedOffsets()
  readonly #state: ViewHost['state']
  readonly #topicExists: (topicId: number) => boolean

  /** @param topicExists as of the operation that is being folded */
  constructor({ state }: Pick<ViewHost, 'state'>, topicExists: (topicId: number) => boolean) {
    this.#state = state
    this.#topicExists = topicExists
  }

  /** Restores the fold from the state, once the topics are there. */
  async load(): Promise<void> {
    for await (const [key, value] of tableEntries(this.#state, viewTables.offsets)) {
      const page = pageOf(key)
      if (this.#topicExists(page.topicId)) this.offsets.loadPage(page, value)
    }
  }

  /** Folds an operation; offsets of topics that are gone by then are dropped. */
  apply(kind: number, payload: Uint8Array): void {
    if (kind === opKinds.offsetsCommitted) this.#committed(payload)
    else this.#drop(this.offsets.deleteGroup(decodeGroupDeleted(payload)))
  }

  /** To be called when the operation that deletes a topic is folded. */
  topicDeleted(topicId: number): void {
    this.#drop(this.offsets.deleteTopic(topicId))
  }

  #committed(payload: Uint8Array): void {
    const { group, committedAtMs, entries } = decodeOffsetsCommitted(payload)
    const kept = entries.filter(([topicId]) => this.#topicExists(topicId))
    if (kept.length === 0) return
    for (const page of this.offsets.set(group, committedAtMs, kept)) {
      this.#state.put(keyOf(page), this.offsets.encodePage(page))
    }
  }

  #drop(pages: readonly OffsetsPage[]): void {
    for (const page of pages) this.#state.del(keyOf(page))
  }
}

function keyOf({ group, topicId, page }: OffsetsPage): Uint8Array {
  const key = Buffer.from(` /${group}/${topicId}/${page}`, 'latin1')
  key[0] = viewTables.offsets
  return key
}

function pageOf(key: Uint8Array): OffsetsPage {
  const [, group = '', topicId, page] = Buffer.from(key).toString('latin1').split('/')
  return { group, topicId: Number(topicId), page: Number(page) }
}
