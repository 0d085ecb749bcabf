import { type commands, limits, MillraceError, type ReplyOf, type RequestOf } from '../../protocol/index.js'
import { viewTables } from '../state_keys.js'
import { delayedEnd, delayedKey, readDelayed } from './delayed_codec.js'
import type { Later } from './later.js'
import { slicesOf } from './slices.js'

type Page = ReplyOf<typeof commands.delayedList>

/** Limit of the entries examined for one page: a topic may have few among those of other topics. */
const scannedMax = 4_000
const limitDefault = 100

/**
 * One page of the delayed messages, by due time.
 * @throws MillraceError UNKNOWN_TOPIC, BAD_REQUEST (a cursor that is not from a reply)
 */
export async function listDelayed(
  { shard, delayed }: Later,
  { topic: name, limit: wanted = limitDefault, cursor }: RequestOf<typeof commands.delayedList>,
): Promise<Page> {
  const topic = name === undefined ? undefined : shard.catalog.topic(name)
  const messages: Page['messages'][number][] = []
  const limitHere = Math.min(wanted, limits.listPageMax)
  const gte = cursor === undefined ? delayedKey(0, 0) : keyOf(cursor)
  const limit = topic === undefined ? limitHere : scannedMax
  const { state } = shard.store
  let last: Uint8Array | undefined
  let scanned = 0
  let isFull = false
  for await (const slice of slicesOf((range) => state.range(range), { gte, lt: delayedEnd, limit })) {
    for (const [key, value] of slice) {
      last = key
      scanned++
      const { topicId, partition, id, dueMs } = readDelayed(key, value)
      const ofTopic = topic ?? shard.catalog.byId(topicId)
      if (ofTopic === undefined || ofTopic.topicId !== topicId) continue
      messages.push({ topic: ofTopic.name, partition, ...(id === '' ? {} : { id }), dueMs })
      isFull = messages.length === limitHere
      if (isFull) break
    }
    if (isFull) break
  }
  const isLast = !isFull && scanned < limit
  const count = topic === undefined ? delayed.totalOfTopics : delayed.count(topic.topicId)
  const nextDueMs = cursor === undefined ? messages[0]?.dueMs : undefined
  return {
    messages,
    ...(isLast || last === undefined ? {} : { cursor: Buffer.from(last).toString('base64url') }),
    count,
    ...(nextDueMs === undefined ? {} : { nextDueMs }),
  }
}

/** The key after the last key of the previous page. */
function keyOf(cursor: string): Uint8Array {
  const key = Buffer.from(cursor, 'base64url')
  if (key.length === delayedKey(0, 0).length && key[0] === viewTables.delayed)
    return Buffer.concat([key, Uint8Array.of(0)])
  throw new MillraceError('BAD_REQUEST', 'cursor is invalid, expected the cursor of an earlier reply')
}
