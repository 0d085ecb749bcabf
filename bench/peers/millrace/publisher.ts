import { connect } from '../../../client/index.js'
import { type PeerPublisher, servePublisher } from '../lib/publisher.js'
import { ensureTopic } from './topics.js'

/** As in the scenarios of Millrace alone: short enough to count with, and several overlap. */
const callBytes = 2 * 1024 * 1024
const callsMax = 8

await servePublisher(async ({ port, topic, removesTopic }): Promise<PeerPublisher> => {
  const client = await connect(`127.0.0.1:${port}`)
  await ensureTopic(client, topic)
  return {
    publishBulk: async (value, acknowledged, signal) => {
      const messages = Math.ceil(callBytes / value.length)
      const publishCalls = async (): Promise<void> => {
        while (!signal.aborted) {
          await client.publishMany(topic, repeated(value, messages))
          acknowledged(messages)
        }
      }
      await Promise.all(Array.from({ length: callsMax }, publishCalls))
    },
    publish: (value) => client.publish(topic, { value }),
    close: async () => {
      if (removesTopic) await client.topics.delete(topic)
      await client.close()
    },
  }
})

function* repeated(value: Uint8Array, count: number): Generator<{ readonly value: Uint8Array }> {
  for (let i = 0; i < count; i++) yield { value }
}
