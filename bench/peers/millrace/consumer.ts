import { connect, defineTopic } from '../../../client/index.js'
import { type PeerConsumer, serveConsumer } from '../lib/consumer.js'
import { ensureTopic } from './topics.js'

await serveConsumer(async ({ port, topic, latency, removesTopic }, receive): Promise<PeerConsumer> => {
  const client = await connect(`127.0.0.1:${port}`)
  await ensureTopic(client, topic)
  const stopped = new AbortController()
  const options = { group: 'bench', from: 'latest', signal: stopped.signal } as const
  const consumer = client.consume(defineTopic(topic), options)
  await consumer.start()
  const readMessages = async (): Promise<void> => {
    for await (const message of consumer) {
      receive(message.value)
      message.ack()
    }
  }
  const readBatches = async (): Promise<void> => {
    for await (const batch of consumer.batches()) {
      for (const { value } of batch.messages) receive(value)
      batch.ack()
    }
  }
  const finished = latency ? readMessages() : readBatches()
  return {
    close: async () => {
      stopped.abort()
      await finished
      if (removesTopic) await client.topics.delete(topic)
      await client.close()
    },
  }
})
