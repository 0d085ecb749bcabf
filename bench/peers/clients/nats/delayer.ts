import { AckPolicy, jetstream } from '@nats-io/jetstream'
import { type PeerDelayer, serveDelayer } from '../../lib/delayer.js'
import { scheduled } from '../../nats/kinds.js'
import { openStream, scheduleSubject, targetSubject } from './streams.js'

const group = 'bench'
/** What the client asks for ahead. */
const messagesMax = 5_000
/** Messages that are not acknowledged yet at a time. */
const unacknowledgedMax = 400
const timeout = 60_000

await serveDelayer(async (options): Promise<PeerDelayer> => {
  const { topic, messageBytes } = options
  const { connection, manager, close } = await openStream({ ...options, topicKind: scheduled })
  const client = jetstream(connection)
  let schedules = 0
  /** Each schedule has a subject of its own: a second one on a subject replaces the first. */
  const schedule = async (dueMs: number): Promise<void> => {
    const value = Buffer.alloc(messageBytes, 'x')
    value.writeDoubleLE(dueMs)
    const specification = { at: new Date(dueMs).toISOString() }
    const target = targetSubject(topic)
    const subject = scheduleSubject(topic, schedules++)
    await client.publish(subject, value, { timeout, schedule: { specification, target } })
  }
  let end = async (): Promise<void> => {}
  return {
    arm: async (messages, dueMs) => {
      let next = 0
      const run = async (): Promise<void> => {
        while (next < messages) await schedule(dueMs(next++))
      }
      await Promise.all(Array.from({ length: unacknowledgedMax }, run))
    },
    receive: async (received) => {
      const filter_subject = targetSubject(topic)
      await manager.consumers.add(topic, { durable_name: group, ack_policy: AckPolicy.None, filter_subject })
      const consumer = await client.consumers.get(topic, group)
      const messages = await consumer.consume({ max_messages: messagesMax })
      const readAll = async (): Promise<void> => {
        for await (const { data } of messages)
          received(Buffer.from(data.buffer, data.byteOffset, 8).readDoubleLE())
      }
      const finished = readAll()
      end = async () => {
        await messages.close()
        await finished
      }
      await finished
    },
    close: async () => {
      await end()
      await close()
    },
  }
})
