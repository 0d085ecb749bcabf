import { type Consumer, connect, defineTopic } from '../../../client/index.js'
import { type PeerDelayer, serveDelayer } from '../lib/delayer.js'
import { ensureTopic } from './topics.js'

await serveDelayer(async ({ port, topic, messageBytes }): Promise<PeerDelayer> => {
  const client = await connect(`127.0.0.1:${port}`)
  await ensureTopic(client, topic)
  const value = Buffer.alloc(messageBytes, 'x')
  let finished: Promise<void> | undefined
  const consumer = client.consume(defineTopic(topic), { from: 'earliest' })
  return {
    arm: async (messages, dueMs) => {
      await client.publishMany(topic, delayed(value, messages, dueMs))
    },
    receive: (received) => {
      finished = receiveAll(consumer, received)
      return finished
    },
    close: async () => {
      await consumer.close()
      await finished
      await client.close()
    },
  }
})

function* delayed(
  value: Uint8Array,
  messages: number,
  dueMs: (index: number) => number,
): Generator<{ readonly value: Uint8Array; readonly deliverAt: number }> {
  for (let i = 0; i < messages; i++) yield { value, deliverAt: dueMs(i) }
}

/** A message's timestamp is its due time. */
async function receiveAll(
  consumer: Consumer<Uint8Array, string>,
  received: (dueMs: number) => void,
): Promise<void> {
  for await (const batch of consumer.batches()) {
    for (const { timestamp } of batch.messages) received(timestamp)
  }
}
