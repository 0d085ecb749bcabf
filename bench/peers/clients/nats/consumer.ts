import { AckPolicy, DeliverPolicy, type JsMsg, jetstream } from '@nats-io/jetstream'
import { type PeerConsumer, serveConsumer } from '../../lib/consumer.js'
import { openStream } from './streams.js'

const group = 'bench'
/** What the client asks for ahead. */
const messagesMax = 5_000
/** How many messages one acknowledgement stands for. */
const ackEvery = 500
const ackPendingMax = 100_000

await serveConsumer(async (options, receive): Promise<PeerConsumer> => {
  const { connection, manager, close } = await openStream(options)
  await manager.consumers.add(options.topic, {
    durable_name: group,
    deliver_policy: DeliverPolicy.New,
    ack_policy: AckPolicy.All,
    max_ack_pending: ackPendingMax,
  })
  const consumer = await jetstream(connection).consumers.get(options.topic, group)
  const messages = await consumer.consume({ max_messages: messagesMax })
  const every = options.latency ? 1 : ackEvery
  const run = async (): Promise<void> => {
    let unacknowledged: JsMsg | undefined
    let received = 0
    for await (const message of messages) {
      receive(message.data)
      unacknowledged = message
      if (++received % every !== 0) continue
      message.ack()
      unacknowledged = undefined
    }
    unacknowledged?.ack()
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
