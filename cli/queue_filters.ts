import { type Client, MillraceError } from '../client/index.js'

/**
 * Refuses a topic that a queue group neither reads nor has dead letters of; a filter by it would silently match nothing.
 * @throws MillraceError UNKNOWN_GROUP, UNKNOWN_TOPIC, BAD_OPTION
 */
export async function checkQueueTopic(
  client: Client,
  group: string,
  topic: string | undefined,
): Promise<void> {
  if (topic === undefined) return
  const { partitions } = await client.queues.describe(group)
  if (partitions.some((one) => one.topic === topic)) return
  // The topic may be deleted while its dead letters are still there.
  for await (const letter of client.queues.deadLetters(group)) if (letter.topic === topic) return
  await client.topics.describe(topic)
  const topics = [...new Set(partitions.map((one) => `"${one.topic}"`))].join(', ')
  throw new MillraceError(
    'BAD_OPTION',
    `--topic is "${topic}", which queue group "${group}" does not read; it reads ${topics === '' ? 'no topic' : topics}`,
  )
}

/**
 * Refuses numbers of dead letters that do not exist, before anything is redriven.
 * @throws MillraceError UNKNOWN_GROUP, BAD_OPTION that names each missing one
 */
export async function checkLetters(
  client: Client,
  group: string,
  letters: readonly number[] | undefined,
): Promise<void> {
  if (letters === undefined) return
  const missing = new Set(letters)
  const last = Math.max(...letters)
  for await (const { offset } of client.queues.deadLetters(group)) {
    missing.delete(offset)
    if (missing.size === 0 || offset >= last) break
  }
  if (missing.size === 0) return
  const names = [...missing].sort((a, b) => a - b).join(', ')
  throw new MillraceError(
    'BAD_OPTION',
    `queue group "${group}" has no dead letter ${names}; "millrace queue dead ${group}" lists those that were not redriven`,
  )
}
