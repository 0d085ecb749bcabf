import { Queue } from 'bullmq'
import { type PeerPublisher, servePublisher } from '../../lib/publisher.js'
import { addMany, bulkJobs, connectionTo, jobName, type NewJob } from './jobs.js'

await servePublisher(async ({ port, topic, removesTopic }): Promise<PeerPublisher> => {
  const queue = new Queue(topic, { connection: connectionTo(port) })
  await queue.waitUntilReady()
  return {
    publishBulk: async (value, acknowledged, signal) => {
      const job = { name: jobName, data: value.toString('latin1') }
      const next = (): NewJob[] => (signal.aborted ? [] : new Array<NewJob>(bulkJobs).fill(job))
      await addMany(queue, next, acknowledged)
    },
    publish: (value) => queue.add(jobName, value.toString('latin1')),
    close: async () => {
      if (removesTopic) await queue.obliterate({ force: true })
      await queue.close()
    },
  }
})
