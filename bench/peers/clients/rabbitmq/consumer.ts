import type { ConsumeMessage } from 'amqplib'
import { type PeerConsumer, serveConsumer } from '../../lib/consumer.js'
import type { QueueKind } from '../../rabbitmq/kinds.js'
import { connectTo, declaration, queueNames } from './queues.js'

/** For each queue. More, or a quarter, gave no more. */
const prefetch = 2_000

await serveConsumer(async ({ port, topic, topicKind, removesTopic }, receive): Promise<PeerConsumer> => {
  const connection = await connectTo(port)
  const channel = await connection.createChannel()
  await channel.prefetch(prefetch)
  let last: ConsumeMessage | undefined
  const acknowledge = (): void => {
    if (last !== undefined) channel.ack(last, true)
    last = undefined
  }
  const onMessage = (message: ConsumeMessage | null): void => {
    if (message === null) return
    receive(message.content)
    // One acknowledgement for all that one read from the socket brought.
    if (last === undefined) setImmediate(acknowledge)
    last = message
  }
  const queues = queueNames(topic)
  for (const queue of queues) {
    await channel.assertQueue(queue, declaration(topicKind as QueueKind, 'short'))
    await channel.consume(queue, onMessage)
  }
  return {
    close: async () => {
      if (removesTopic) for (const queue of queues) await channel.deleteQueue(queue)
      last = undefined
      await connection.close()
    },
  }
})
