import { Consumer, MessagesStreamModes } from '@platformatic/kafka'
import { type PeerConsumer, serveConsumer } from '../../lib/consumer.js'
import { ensureTopic, removeTopic } from './topics.js'

const mebibyte = 1024 * 1024
const commitEveryMs = 1_000

await serveConsumer(async ({ port, topic, latency, removesTopic }, receive): Promise<PeerConsumer> => {
  await ensureTopic(port, topic)
  const consumer = new Consumer<Buffer, Buffer, Buffer, Buffer>({
    clientId: 'consumer',
    groupId: `group-${topic}`,
    bootstrapBrokers: [`127.0.0.1:${port}`],
    minBytes: 1,
    maxBytes: 16 * mebibyte,
    maxBytesPerPartition: mebibyte,
    maxWaitTime: latency ? 500 : 10,
    highWaterMark: 10_000,
    autocommit: commitEveryMs,
  })
  const stream = await consumer.consume({ topics: [topic], mode: MessagesStreamModes.LATEST })
  stream.on('data', ({ value }) => receive(value))
  return {
    close: async () => {
      await stream.close()
      await consumer.close()
      if (removesTopic) await removeTopic(port, topic)
    },
  }
})
