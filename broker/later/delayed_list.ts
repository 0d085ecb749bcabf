import { type commands, limits, MillraceError, type ReplyOf, type RequestOf } from '../../protocol/index.js'
import { viewTables } from '../state_keys.js'
import { delayedEnd, delayedKey, readDelayed } from './delayed_codec.js'
import type { Later } from './later.js'

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
  { topic: name, limit = limitDefault, cursor }: RequestOf<typeof commands.delayedList>,
): Promise<Page> {
  const topic = name === undefined ? undefined : shard.catalog.topic(name)
  const messages: Page['messages'][number][] = []
  const limitHere = Math.min(limit, limits.listPageMax)
  const gte = cursor === undefined ? delayedKey(0, 0) : keyOf(cursor)
  const entries = await shard.store.state.range({
    gte,
    lt: delayedEnd,
    limit: topic === undefined ? limitHere : scannedMax,
  })
  let last: Uint8Array | undefined
  for (const [key, value] of entries) {
    if (messages.length === limitHere) break
    last = key
    const { topicId, partition, id, dueMs } = readDelayed(key, value)
    const ofTopic = topic ?? shard.catalog.byId(topicId)
    if (ofTopic === undefined || ofTopic.topicId !== topicId) continue
    messages.push({ topic: ofTopic.name, partition, ...(id === '' ? {} : { id }), dueMs })
  }
  const scanned = topic === undefined ? limitHere : scannedMax
  const isLast = entries.length < scanned && last === entries.at(-1)?.[0]
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
