import { createClient } from '@redis/client'
import { type PeerPublisher, servePublisher } from '../../lib/publisher.js'

/** Longer where the reply waits for the disk. */
const pipelineCommands = { default: 500, fsync: 1_000 } as const
const pipelinesMax = 4

await servePublisher(async ({ port, topic, durability, removesTopic }): Promise<PeerPublisher> => {
  const client = createClient({ RESP: 2, socket: { host: '127.0.0.1', port, noDelay: true } })
  await client.connect()
  const command = (value: Buffer): (string | Buffer)[] => ['XADD', topic, '*', 'v', value]

  const publishPipelines = async (
    value: Buffer,
    acknowledged: (messages: number) => void,
    signal: AbortSignal,
  ): Promise<void> => {
    const commands = pipelineCommands[durability]
    while (!signal.aborted) {
      const pipeline = client.multi()
      for (let i = 0; i < commands; i++) pipeline.addCommand(command(value))
      await pipeline.execAsPipeline()
      acknowledged(commands)
    }
  }

  return {
    publishBulk: async (value, acknowledged, signal) => {
      const pipelines = Array.from({ length: pipelinesMax }, () =>
        publishPipelines(value, acknowledged, signal),
      )
      await Promise.all(pipelines)
    },
    publish: (value) => client.sendCommand(command(value)),
    close: async () => {
      if (removesTopic) await client.sendCommand(['UNLINK', topic])
      await client.close()
    },
  }
})
