import { Producer, type ProducerOptions } from '@platformatic/kafka'
import { type PeerPublisher, servePublisher } from '../../lib/publisher.js'
import { ensureTopic, partitions, removeTopic } from './topics.js'

type BufferProducer = Producer<Buffer, Buffer, Buffer, Buffer>

/** One call of `send`: all its messages go to one partition, as one batch, as Java's sticky partitioner does. */
const batchMessagesMax = 2_000
const batchBytesMax = 256 * 1024
const sendsMax = 8

await servePublisher(async ({ port, topic, removesTopic }): Promise<PeerPublisher> => {
  await ensureTopic(port, topic)
  const options: ProducerOptions<Buffer, Buffer, Buffer, Buffer> = {
    clientId: 'publisher',
    bootstrapBrokers: [`127.0.0.1:${port}`],
  }
  const producer: BufferProducer = new Producer(options)
  let next = 0
  const send = (value: Buffer, count: number): Promise<unknown> => {
    const partition = next++ % partitions
    return producer.send({ messages: Array.from({ length: count }, () => ({ topic, value, partition })) })
  }
  return {
    publishBulk: async (value, acknowledged, signal) => {
      const count = Math.max(1, Math.min(batchMessagesMax, Math.floor(batchBytesMax / value.length)))
      const repeat = async (): Promise<void> => {
        while (!signal.aborted) {
          await send(value, count)
          acknowledged(count)
        }
      }
      await Promise.all(Array.from({ length: sendsMax }, repeat))
    },
    publish: (value) => send(value, 1),
    close: async () => {
      await producer.close()
      if (removesTopic) await removeTopic(port, topic)
    },
  }
})
