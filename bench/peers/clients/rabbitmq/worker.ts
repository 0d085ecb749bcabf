import type { ConsumeMessage } from 'amqplib'
import { handle, type PeerQueueWorker, serveQueueWorker } from '../../lib/queue_worker.js'
import type { QueueKind } from '../../rabbitmq/kinds.js'
import { connectTo, declaration, queueNames } from './queues.js'

await serveQueueWorker(async (options, acknowledged): Promise<PeerQueueWorker> => {
  const { port, topic, topicKind, concurrency, removesTopic } = options
  const connection = await connectTo(port)
  const channel = await connection.createChannel()
  const queues = queueNames(topic)
  // It is for each consumer.
  await channel.prefetch(Math.ceil(concurrency / queues.length))
  let stopped = false
  const onMessage = async (message: ConsumeMessage | null): Promise<void> => {
    if (message === null) return
    await handle()
    if (stopped) return
    channel.ack(message)
    acknowledged(message.content.length)
  }
  for (const queue of queues) {
    await channel.assertQueue(queue, declaration(topicKind as QueueKind, 'short'))
    await channel.consume(queue, onMessage)
  }
  return {
    close: async () => {
      stopped = true
      if (removesTopic) for (const queue of queues) await channel.deleteQueue(queue)
      await connection.close()
    },
  }
})
