import { Queue, Worker } from 'bullmq'
import { handle, type PeerQueueWorker, serveQueueWorker } from '../../lib/queue_worker.js'
import { connectionTo } from './jobs.js'

await serveQueueWorker(async (options, acknowledged): Promise<PeerQueueWorker> => {
  const { port, topic, concurrency, removesTopic } = options
  const connection = connectionTo(port)
  const worker = new Worker<string>(topic, handle, {
    connection,
    concurrency,
    removeOnComplete: { count: 0 },
  })
  // When Redis has answered that the job is completed.
  worker.on('completed', ({ data }) => acknowledged(data.length))
  worker.on('error', (error) => {
    throw error
  })
  await worker.waitUntilReady()
  return {
    close: async () => {
      await worker.close()
      if (!removesTopic) return
      const queue = new Queue(topic, { connection })
      await queue.obliterate({ force: true })
      await queue.close()
    },
  }
})
