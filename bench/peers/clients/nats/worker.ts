import { AckPolicy, type JsMsg, jetstream } from '@nats-io/jetstream'
import { handle, type PeerQueueWorker, serveQueueWorker } from '../../lib/queue_worker.js'
import { openStream } from './streams.js'

const group = 'bench'

await serveQueueWorker(async (options, acknowledged): Promise<PeerQueueWorker> => {
  const { topic, concurrency, isConfirmed } = options
  const { connection, manager, close } = await openStream(options)
  await manager.consumers.add(topic, {
    durable_name: group,
    ack_policy: AckPolicy.Explicit,
    max_ack_pending: concurrency,
  })
  const consumer = await jetstream(connection).consumers.get(topic, group)
  const messages = await consumer.consume({ max_messages: concurrency })
  const pending = new Set<Promise<void>>()
  const work = async (message: JsMsg): Promise<void> => {
    await handle()
    if (!isConfirmed) message.ack()
    // Rejects when no confirmation comes, which ends the worker: nothing handles it.
    else if (!(await message.ackAck())) return
    acknowledged(message.data.length)
  }
  const run = async (): Promise<void> => {
    for await (const message of messages) {
      const worked = work(message).then(() => {
        pending.delete(worked)
      })
      pending.add(worked)
    }
    await Promise.all(pending)
  }
  const finished = run()
  return {
    close: async () => {
      await messages.close()
      await finished
      await close()
    },
  }
})
