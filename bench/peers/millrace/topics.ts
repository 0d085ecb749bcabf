import type { Client } from '../../../client/index.js'

const partitions = 8

/** Makes the topic unless the other worker has. */
export async function ensureTopic(client: Client, topic: string): Promise<void> {
  const topics = await client.topics.list()
  if (!topics.some(({ name }) => name === topic)) await client.topics.create(topic, { partitions })
}
