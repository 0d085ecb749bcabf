import { createClient, RESP_TYPES } from '@redis/client'
import { type PeerConsumer, serveConsumer } from '../../lib/consumer.js'

const group = 'bench'
const messagesMax = 2_000
/** How long a read waits for messages: also how long stopping takes at most. */
const blockMs = 200

/** Streams with their entries: an id, and names and values of its fields by turns. */
type ReadReply =
  | readonly (readonly [string, readonly (readonly [string, readonly (string | Buffer)[]])[]])[]
  | null

await serveConsumer(async ({ port, topic, latency, removesTopic }, receive): Promise<PeerConsumer> => {
  const socket = { host: '127.0.0.1', port, noDelay: true } as const
  // Strings cost the client less than Buffers; the time in front of a value needs its bytes.
  const typeMapping = latency ? { [RESP_TYPES.BLOB_STRING]: Buffer } : {}
  const client = createClient({ RESP: 2, socket, commandOptions: { typeMapping } })
  await client.connect()
  await client.sendCommand(['XGROUP', 'CREATE', topic, group, '$', 'MKSTREAM'])

  const read = (): Promise<ReadReply> =>
    client.sendCommand<ReadReply>([
      ...['XREADGROUP', 'GROUP', group, 'one', 'COUNT', String(messagesMax), 'BLOCK', String(blockMs)],
      ...['STREAMS', topic, '>'],
    ])
  let stopped = false
  const run = async (): Promise<void> => {
    let acknowledging: Promise<unknown> | undefined
    while (!stopped) {
      const [reply] = await Promise.all([read(), acknowledging])
      acknowledging = undefined
      const entries = reply?.[0]?.[1] ?? []
      for (const [, fields] of entries) receive(fields[1] as string | Buffer)
      if (entries.length > 0)
        acknowledging = client.sendCommand(['XACK', topic, group, ...entries.map(([id]) => id)])
    }
    await acknowledging
  }
  const finished = run()
  return {
    close: async () => {
      stopped = true
      await finished
      if (removesTopic) await client.sendCommand(['UNLINK', topic])
      await client.close()
    },
  }
})
